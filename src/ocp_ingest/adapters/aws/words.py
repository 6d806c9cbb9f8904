"""What records and events have in common, for the codec: words of form 1.

KEYS_1     names of fields, by their number in a record's tree
RECORD_1   trees of seven typical records, one after the other
CDR_1      ten typical events, with every id and number of a caller left out

Made once from simulated calls, each next one chosen for what it saves with those before it. Other
names of groups or lines of business cost some ten bytes a record, nothing else. Nothing in here
ever changes: every item in the table can be read only with what it was written with.
"""

from __future__ import annotations

import base64
import zlib
from typing import Final

KEYS_1: Final[tuple[str | int, ...]] = (
    "at_ms", "account_id", "duration_ms", "bytes", "container", "lob", "bucket", "key",
    "customer_id", "ocp_group", "name", "dialog_id", "problems", "call_id", "evidenced", "regs",
    "seen", "call_started", "root_dialog_id", "channel", "destination", "direction", "session_id",
    "entry_app", "test_flag", "ivr_ended", "ivr_duration_ms", "exit_status", "result_codes",
    "globalResult", "call_ended", "end_type", "received_at_ms", "landing_key", "name_parts",
    "group_id", "time_ms", "source", "inspected_at_ms", "report", "bit_rate_bps",
    "bits_per_sample", "channel_silence_share", "channels", "codec", "dead_tail_ms",
    "declared_duration_ms", "digital_zero_share", "frames", "longest_silence_ms", "sample_rate_hz",
    "silence_share", "silent_runs", "streaming_header", "recordings", "versions", "verdicts",
    "valid", "rules", "routed", "rule", "stored", "attached", "from_ms", "to_ms", "asked_at_ms",
    "answered_at_ms", "job_id", "task_id", "found", "audio", "dialog_end", "dialog_start",
    "metadata", "created_at", "end", "expires_at", "file_count", "polls", "said", "status",
    "tries", "why", "device_type", "exports", "connection_id", "files", "result", "HUP",
    "sensitive", "code", "severity", "text", "closings", "outcome", "reason", "roots", "acts",
    "lost", "relanded", "sha256", "epoch", "by", "kind", 0, 1, 2, 3,
)  # fmt: skip


def _dictionary(text: str) -> bytes:
    return zlib.decompress(base64.b85decode(text))


# fmt: off
RECORD_1: Final = _dictionary(
    "c-pm?*-sls9LH?~0g{xa&DGpXkCYG$v%C1BM>x}@4S`aUrYBmw8?fR7dDltv5{W>ohNnRJ11cq4O`=LsRjGZ9dFzWGde"
    "I|IxbGXEEOchPzRlrCSa{f(ow0XjexL96H*V|Ak;yYMQc|+y8FEFIT(M2ANKRHL6!48}@PD%0|4K<s{qnih4EytsW&3u"
    "u%T~md7ht)(l8&zL8ySHyDXpBq7>qBX_SM~}?68>5UaZ=KF7ImrP^wfaB_IL07qxU5%(WJqnf(A&x{ZvPH5$y^1yu9xL"
    "#0=a%DedhQ2Wu<gIdOX#bB;eUbPtX+)M5974cD8`}UP(&qwVtx66J2wK$KW2XZP<xpWY<EFDAFo#!j6%8Sk&MlFp;x_F"
    "yj&++^rRPE7QObtd(;8=CzYLn*X;w@q!X+Cpq`_J+l=*w@A8l8#)I!de4XviD#+-uC$mz(AI!FH^^vij=EYn{Ac<rq`)"
    "9eC^b?CXzZyR&9aq$SN~w@#mw=kzq_O*JN)k-3IDC}p`zc~godFiB4AY;F3uN3hz=dIo;~Cmo#CYO#LWS6*Gu5mrubv9"
    "fT&gn=jYHlctZ0hN=l(Gix*1PwGf`Lu?py)JM(!B{!MWZ-$!Ig5eIDi9=<qXlZh#GlBe#@R)BEWfpFbVT)NxP=%>8q6F"
    ">WOm#a4Hm25pIv`&c7xfiPvgw)37p+8GU<h9>G*HwZTJkswBxb#5ZcE2CYj@3oxR`(X;TXr20jP_XbnZ`-uO!9_=g=%>"
    "5^`4yJxi2Dy2&5LkdvpJd(_#K%P7gKk%D@o^O3AbNrpi$m+(v%sORw{3=l=lB7U2P$@~OUdfQRPC5Q6bo3QD{w#L<QR4"
    "W$bQ5FBnoir_v7fPDY;E4Ly53@c*u`HlG&FE5`|a75cOAdIcbB!8xpR(R%gOWzu+Aq{*eiQVD#|O*l~tFOzW+@JV`B}L"
    "?^pw4wA9sbX7;{x$qS5CsOlrQtDN;Zag8y<*di_)j2uzV@Pt9&VQld>qtMp79|}N92z~{oAL8CDvA#FNy69*99%tg1Fw"
    "{kix)?%Tyr+YxlkiOefJhg^Nf(2pBgVyL#JGrpjogpN>KQA`hZFubYHm#HE>Ws=Dy@c2!ygi;A?AHv#JtaonD==Q^F9w"
    "^-q(G;tf;Ey%!Nusz3*m_`b&4w4aB}Liv31+3*ky~W-dt^M&b=4RXP&N7p;n*gN(=iBBo;j(&5Z*oriREBRZHM9CNvzy"
    "jg_@%#hQNi7D1iPv+m2c$k1VJjC;lhGCp_r*z;u+j>wu<IA`l_<KPL#x^^otvB6o0&+#XU4J%(ry>+S0ZoTrWk)-{jCY"
    "(=0UfPN!v+zkVU_n_mG@wkcVm@zW0mhZ9olg5=8+x-emtUyy>#caf5*j8+h>hG>5UeiV+)vCo-+#tpg^!#YWRAnb<Hx@"
    "=birMnm#R3V?ARuLX>y{-{-7^P|uiQ!AT9gfLa8iqNGw%Zax=Ed*B1xdXFO1pwlWc0<gt(*F7=B#jJfSaxv~2$y}$&QV"
    "Z#iA`b6>xR$Gmz60$tug7~3mF`2R3@zPZRBa4fU$h@COrQ(zge$NUeyp4=#8T2?=0b!Hk~*N)&{_@H*mUMGR&x-m#q8G"
    "ESgd5Z?l8}B2k~-7;kB0AjI+*XGn=tQ2CnNhP%^cCuNf^IDH<*wDj6)@MEA9ACTe*jZDv4nnf~&Mtv8utlE7prLXp3@#"
    "4_4!VpS(-HniVtBGXDK@Z$;)Hk{@7hU1qXpi%)92*{7W2BGk{p~=9~bqJLq2RV$Yq1-Y|qFh*<f_4;_3CU`-v=-#kS_*"
    "EOsexY4YGRnU0|)qVn8|g8;ot((<P^kV65=os#9@3*w?Q$TpxcaYb_hg(s8fdRYAB>BpafF3HBvZSG*moTGElm4?|1;j"
    "UCT%S`XvCKmZzqNN7+`yKY^4#CH#n$ydeOIXIpf<Y%2@^aT)8sFDm1Tr~hF&mj>!celX|4HRQlv?7&_e-d^m$Uab4xuy"
    "d9-@|@+3&b3@EgfnR=b1`z$)M_=U)6$xabFBpoz&r$CDZ6cM_M{@(6=t9-OhY%AA}3+^Pp~d}JQ)6C>$t%v>v}df7)fN"
    "{Iw+7pIz)VZYPfKyXs~#oq`!3I-VlXH2n874Po?mFQl7cx;e8a#d&Cb2@q&BrR{m^&wcQt$Tz+pb^ENAE)^qXoU8mBiH"
    "0pr9`)fG8#0Lryr!yixP>7yL1()*6*aL;Q!GR)R&G1hLNNVFB69NZ{UGPBBHa`c09G|y&Qf=h?Q9cWg6d|!+`)KiFa5d"
    "r`FM5J^w>?0C8?45S`A~1^sFBd{_3|K6qXe4G=Rv{l>*YZai@jDJbbPDxp#K3!5Q<*"
)

CDR_1: Final = _dictionary(
    "c-rk*TW{OA68<X&pY{NjE6I*y`z_l|b^|odBFHZG>>?0oiMDwni2_MENdxz{?+iuBqAzLEHVq0K^q~<i!<ldH<42Nknu"
    "<ll6EY#BOQaB*OtdUnmnfzcnLNV(EGLtH{O(Pc#57GKrK!{mZu}GA8ehqX<;iBj9I98$H4zulLW;653nZnQW}al4@|4_"
    "EuSP9SfDFO)cuDh|rPYGS&i}l^RmGIzB6m*GI2L8Do3(-Ohq%siEgvFU6xH&K=C?dwcq_qUhWnZ+9nDj^F#B_wDh8`bD"
    "XGRMGG!PJ$HUOKlDd0Avj_4<`k`QzgwxZLtLV2semBxFRi-+MMZ&5pk7SXG8BMRu1^}<hI0m5rf4nj=x5*lb-gAv`>$1"
    "8@Vv!XoL-23b>qnBoExKU#;aZu%3XrN*YH`Ou+sNU!<{4bu$V(<hnzk?-NnmvaZ~`NQmiIj6R6b02&NZjN&%}YY+ZJ$Q"
    "#p?o<i4m<!ZdV0L^hj>m0}?EXbL4qN(~?<UH3P2wb+<l)s=5FSTgQyPnzO;?><0lh*gnaWckx$qGTfX@snTbuxNDttji"
    "kQQU$+g?TBBn?hMO)i#`Z{Zn(ZUDVp18TN9!)?E2Fu_<3=U++v~RvlECi;gI<W<$rjZTy;EMPJO<2r0Rc*L6rm=A#@}-"
    "u?xBdiOBpYLUC_0Vy@X}L!$ZXNp2~H)hxoTvVIi{&qk~2ELi-UoQI@r_3Avy-|7Z=3wBMJk5K_|_sLaNmf=aNpnkH!$Y"
    "GU@&8i|b{%~wJ760B?2-EqS(%M&y|6FM+9wRvmaXo6PFh7-2X{o28^*K5M3HH3Zfb1M+CjL{|zKFguaGcR)Kz(4N09({"
    "Rraq{7F{v1=8s0ulcrUe*&nK8-Zy{`Qh9-Vu?{`^djJ|xT6I(Lh1+hdQv*0ovb#hAHhy5GBl-XV#4C+&|5Q0GZes3)C0"
    "*f{$WI9b~{aaZ^FfBojS@_iTMr@}zsgn?ia23!&ch5YLH(Dvr-@bL25>Wc~|f4gw<TZI$UADZV@3Ai)zeedY#$n%4$T1"
    "vQN@n)OnGq9Az5EMW!Zp5$OaY`|NPbuc_FU1UT1tBU2C48nBqgqo)DHXLx5|>H~P*?@)doLIt`-73GmYgkoquG5Twi>`"
    "+RxSz27d($j$*c7xRlr}gz1)J^E;@McfQol^V^G3Y08h;{ag@|(2rQ$DkDE$oH+JzHsz*qNQH^MnfH|QR9>5e4SY!;N8"
    "2K6FkQ@EBHP{MlM|fCCJe)}|VHe3)u6(xm`tsUmSHK^t`q|@Q-?;vnmGLb@>wuELv&B}0OFQmWX*u-6;kzJs7y9qs_3r"
    "4(*z9amVImM^%A5tYq~X!fn9L)Y^ORK;#uk0c-6zatpFUaIvgxgEc~P*$r3PZpjpKmf&@$noM!r>WxhqweFl%UZQe>t9"
    "?2`Y9S;GnbT}iv}TFJme*@GbTuS4Gp`b&>u&dp%2aX`ti=mO8QNO?g3x2}W1BpghR2ED<^|C^X94vk0TXpHQ>fKZ^eE("
    "JT65V*(~IhhRlPEK)B7MO=fQxFQyD9RfI>i(0wzr6VU!|C<uFX#!98*Nzlx^AiJfCgaSEfEx`H|0a;4qS#M9ptJ5k+Z|"
    "K>R4?7vYM*f3eRUisD)9&x2VM3%=*l9@!VqkTO^ENPr?8TW^<k!>;7EkNNJv=+!)Sx$RNjqQP3Yc8RTR)gB)y*2XC1_9"
    "Im_vrgG8yFH=+Tyn6aj^ITEdBoRaM`_$0eI6sw6LMNSshnnf`Ug2K1#cm`;ea*OzAkDI9hJ7alcHaj#hE)|6V26t0pbX"
    "l8AuK*<j8)^~aX1<_o)RgDK#(0H$P3bp?Rw+>&>x1I`dOJa0ta_7JYU3Fq=KR8LctS(#hihOk}BaOj6#PEY@3i2j(l8-"
    "Qy`tVGsC_=L{1a%eNEHoBa@<L!S4-+<6wNWHG#A@<`OW1&%tPHzEhDe&_!!G@MvIAD5L;e$f|6K>|?Vn%RI&;W1JFvgl"
    "iL%r8Jd_X7}i%*GmS$I2JMi)poe*#HF5e`r)uU2uB?;?*NEhK(S*m?Eu%EjDv5&;h!i(65R>>Zs_}+O#P>4@@%DuN>$5"
    "`s1U>ACK<!ut|9;h|M++`up6M}GDlI6n1)1YBG3}xM)XZ&T5pvKZ!*+&W;w4k(+>8`wA<b7vnSe+Ne71}+V!40(LQ_0K"
    "$}8vz$ztaM%rhGCfb{$uQSm$(m3<4v*!)8Te!M2uZCkY&^~*cdG?o0zg}tJ6@J%&*9#lE{qwCKt(n{M@;4n+eR1gwGQG"
    "%)n@QfTrS4R#JTFQeWg?+zmDyCmSiCf?3e8n4d12KBoaLI-RXL>KQfp=!<<{n|C(N)*L?9@bMbz|{n;IPKHcv}DV*{iW"
    "|LXMp<*(E8>+{PgX$4QykAZA=Lf%Gb@SBD<EvxXpRbwG_1Pkqy#}S7<N*0K_9oapSeUd<_GUo|1i+*nuAXJ)Fo@(u(KH"
    "BQ^rf26@7pBv5?~m6e0YQ+o&A26TEsAQM&T<8tE6_odLVQil4-V5)qamOVWU700blT767|S+@5V>&z)AkP5H|8IDcqMT"
    "2_=&nbsr6>()YIwZAJg}z7pK!}<f@!)253+nWd*9P`Xe$CLZhZ@+k-lWOpfYO3eU9iNk7D&?&{P5l5ntqd&4I(wqj9@@"
    "5Y##rgj#NXh>sfEO>z;7(%8Ivx&!^Z(Tp6C2<Shd-Lq3YWV+O9Dnd%9RCH*Z3u<"
)
# fmt: on
