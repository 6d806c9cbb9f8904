"""A simulator of Omilia Cloud Platform: it pushes CDRs and recordings, and answers exports.

Its own package on purpose: it shares no code with the platform under test, so that a mistake in
one is not repeated by the other. Facts about OCP come from public pages; what is adopted where
OCP's own contract is unknown is a setting.

    Pure                                         With I/O
    config         every setting                 push         the streaming client
    ids, model     ids, names, values            auth_api     tokens over HTTP
    cdr            CDR bodies                    export_api   exports over HTTP
    faults         which call suffers what       control      /_sim: ledger, status, changes
    world          seed -> calls                 serving      ranges, ZIPs, broken downloads
    script         call -> what the stream sends sounds       recording -> bytes, cached
    bodies, retry  a push, and after its answer  audio*       speech -> telephone recordings
    ledger         how each call must end        clock        scaled domain time
    platform       rules of the Export API       simulator    all parts put together
    export_faults  what goes wrong in exports    server, cli  `ocp-sim serve`
    tokens, rate   logins, rate limit
"""
