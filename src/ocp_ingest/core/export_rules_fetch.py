"""Rules once OCP has completed the export: its file list, then the downloads, until expiry."""

from msgspec.structs import replace

from ocp_ingest.core.eligibility import Policy
from ocp_ingest.core.export_actions import BackOff, FetchManifest, Release, StartDownloads, Step
from ocp_ingest.core.export_facts import (
    DownloadsFinished,
    End,
    Export,
    ExportJob,
    Files,
    Progress,
    Results,
    Seen,
    State,
)
from ocp_ingest.core.export_steps import delayed, export_id_of, finish, ignore, wait
from ocp_ingest.core.limits import SECOND_MS


def ready(job: ExportJob, export: Export, now: int, policy: Policy) -> Step:
    """The job once OCP has completed its export; next comes the file list."""
    # The slot is taken until we see the end; a poll that came late measures us, not OCP.
    on_time = now - job.next_poll_at <= policy.poll_every_s * SECOND_MS
    job = replace(
        job,
        state=State.READY,
        ready_at=now,
        measured_ms=now - job.posted_at if job.ours and on_time else None,
        expires_at=export.expires_at or job.posted_at + policy.export_life_ms,
        file_count=export.file_count,
        not_before=0,
        errors=0,
    )
    return job, FetchManifest(export_id_of(job))


def fetch(job: ExportJob, _seen: Seen, now: int, policy: Policy) -> Step:
    """Reads the file list when it may; after the data's expiry returns the calls to pending."""
    if now >= download_deadline(job, policy):
        return expired(job, _seen, now, policy)
    if now < job.not_before:
        return wait(job, "the file list is read again then")
    return job, FetchManifest(export_id_of(job))


def fetch_failed(job: ExportJob, seen: Seen, now: int, policy: Policy) -> Step:
    """Frees the slot first, then reads again until the data expires: giving up would lose it."""
    deadline = download_deadline(job, policy)
    if now >= deadline:
        return expired(job, seen, now, policy)
    job = delayed(job, seen, now, policy)
    job = replace(job, not_before=min(job.not_before, deadline))
    if job.released_at is None:
        return replace(job, released_at=now), Release(job.ocp_group)
    return wait(job, "the file list could not be read")


def files(job: ExportJob, seen: Files, now: int, policy: Policy) -> Step:
    """Starts the downloads at once; without a wanted file the job is done."""
    job = replace(
        job,
        manifest_ref=seen.ref,
        file_count=seen.total,
        wanted=seen.wanted,
        errors=0,
        not_before=0,
    )
    if seen.wanted == 0:
        return finish(job, End.DONE, Results(), "none of its calls is in the export", now)
    return _start(replace(job, state=State.DOWNLOADING), now, policy)


def expired(job: ExportJob, _seen: Seen, now: int, _policy: Policy) -> Step:
    """Keeps what was fetched; the other calls return to pending and are planned anew."""
    results = Results(done=job.downloaded, gone=max(0, job.wanted - job.downloaded))
    return finish(job, End.EXPIRED, results, "OCP deleted the data before all was fetched", now)


def download_deadline(job: ExportJob, policy: Policy) -> int:
    """When the downloads must be over: before the data expires, leaving time for another plan."""
    return min(job.expires_at, job.ready_at + policy.download_ms_max)


# Downloading


def look_after(job: ExportJob, _seen: Seen, now: int, policy: Policy) -> Step:
    """Frees the slot, restarts a worker that fell silent, ends at the data's expiry."""
    if job.released_at is None:
        return replace(job, released_at=now), Release(job.ocp_group)
    deadline = download_deadline(job, policy)
    if now >= deadline:
        return expired(job, _seen, now, policy)
    if job.beat_at is None:
        if now < job.not_before:
            return wait(job, "the next round starts then")
        return _start(job, now, policy)
    silent_at = job.beat_at + policy.download_silence_ms
    if now < silent_at:
        return job, BackOff(min(silent_at, deadline), "the worker is downloading")
    return _start(job, now, policy)


def resume(job: ExportJob, _seen: Seen, now: int, policy: Policy) -> Step:
    """Hands over what is still missing: a file that is here is not fetched again."""
    if now >= download_deadline(job, policy):
        return expired(job, _seen, now, policy)
    return _start(job, now, policy)


def progress(job: ExportJob, seen: Progress, now: int, policy: Policy) -> Step:
    """Notes the worker's heartbeat."""
    downloaded = max(job.downloaded, min(seen.done, job.wanted))
    return look_after(replace(job, beat_at=now, downloaded=downloaded), seen, now, policy)


def downloads_finished(job: ExportJob, seen: DownloadsFinished, now: int, policy: Policy) -> Step:
    """Finishes; runs at most three rounds over files that failed; expired ones are planned anew."""
    results = seen.results
    if results.gone:
        return finish(job, End.EXPIRED, results, "OCP deleted the data first", now)
    if not results.failed:
        return finish(job, End.DONE, results, "every wanted file has its result", now)
    if seen.round != job.round:
        return ignore(job, seen, now, policy)
    if job.round >= policy.download_rounds_max:
        why = f"{results.failed} files failed in {job.round} rounds"
        return finish(job, End.PARTIAL, results, why, now)
    job = delayed(replace(job, beat_at=None, downloaded=results.done), seen, now, policy)
    until = min(job.not_before, download_deadline(job, policy))
    job = replace(job, not_before=until)
    return job, BackOff(until, f"{results.failed} files are fetched again", spends_attempt=True)


def _start(job: ExportJob, now: int, policy: Policy) -> Step:
    job = replace(job, round=job.round + 1, beat_at=now)
    return job, StartDownloads(export_id_of(job), job.round, download_deadline(job, policy))
