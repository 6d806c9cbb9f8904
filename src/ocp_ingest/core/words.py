"""What codes mean, in sentences for operators, in English; core.words_es has the same in Spanish.

What was journalled is English for good (reasons of closings, texts of problems): these tables give
a sentence for each code, so that nobody needs to read the journalled one to understand.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Lang = Literal["en", "es"]

# Work.code -> why the work is open.
WHY: Final[dict[str, str]] = {
    "received": "The recording arrived and has not been measured yet.",
    "inspected": "The recording was measured and has not been validated yet.",
    "valid": "The recording is valid and its place has not been pinned yet.",
    "routed": "The recording's place is pinned and the copy has not been proved yet.",
    "awaits_cdr": "The recording is here; its call's CDRs are awaited.",
    "no_recording": "No recording arrived.",
    "bad_recording": "The recording that arrived is unusable; OCP may hold a better copy.",
    "no_cdr": "The recording can't be validated or the call closed without the missing CDRs.",
    "test_call": "OCP marked this as a test call; test calls have no recording.",
    "recording_off": "Whole call recording is off for this OCP group.",
    "too_short": "The call was shorter than the shortest that OCP records.",
    "bad_at_ocp": "OCP's own copy of the recording is unusable too.",
    "bad_and_retention_over": "OCP's retention is over and the recording at hand is unusable.",
    "unknown_to_ocp": "A recording arrived for a call that OCP's exports of its hours do not know.",
    "retention_over": "OCP's retention is over and no recording was had.",
    "cdr_retention_over": "OCP's retention is over and CDRs are still missing.",
}

# Work.code -> the code that holds until that work is due: nothing is over before its time.
UNTIL_THEN: Final[dict[str, str]] = {
    "retention_over": "no_recording",
    "bad_and_retention_over": "bad_recording",
    "cdr_retention_over": "no_cdr",
}

# Work.action -> what happens next.
NEXT: Final[dict[str, str]] = {
    "inspect": "Measure the recording and check its integrity.",
    "validate": "Hold the recording against its call and the rules of its line of business.",
    "route": "Pin line of business, bucket and key.",
    "store": "Copy the recording to its bucket and prove the copy.",
    "close_absent": "Close the call as absent.",
    "close_quarantined": "Close the call as quarantined; the bytes are kept.",
    "close_lost": "Close the call as lost.",
    "give_up": "Go on without the missing CDRs.",
    "ask_export": "Ask OCP for what is missing, by an export job.",
}

# Act.kind -> what was done, and by whom.
ACTS: Final[dict[str, str]] = {
    "given_up": "The missing CDRs were given up",
    "retried": "{by} asked for the next try now",
    "reopened": "{by} reopened it",
    "released": "{by} released it from quarantine",
}

# What ask_export asks for.
NEEDS: Final[dict[str, str]] = {
    "audio": "the recording",
    "dialog_start": "CDR Start",
    "dialog_end": "CDR End",
}

FLAG_WORDS: Final[dict[str, str]] = {
    "call_started": "call started",
    "ivr_ended": "IVR ended",
    "call_ended": "call ended",
    "file_received": "file received",
    "post_processed": "post-processing completed",
    "stored": "copied to the bucket of its line of business",
}

OUTCOME_WORDS: Final[dict[str, str]] = {
    "stored": "stored",
    "absent": "absent",
    "quarantined": "quarantined",
    "lost": "lost",
}

# Where a recording came from.
SOURCE_WORDS: Final[dict[str, str]] = {
    "stream": "stream",
    "export": "export",
    "census": "census",
    "system": "system",
    "operator": "operator",
}

# Codes of core.audio.problems (families end in ".*") and of core.rules -> what is wrong, without
# the numbers, which the journalled text has.
PROBLEMS: Final[dict[str, str]] = {
    "empty": "The file is empty.",
    "too_short": "The file is too short to be audio.",
    "not_audio.*": "The file is no audio ({name}).",
    "unsupported.*": "The audio is of a format that is not taken ({name}).",
    "leading_bytes": "Foreign bytes stand before the audio's header.",
    "length_mismatch": "Fewer or more bytes arrived than were announced.",
    "crlf_mangled": "A text conversion (line ends) has damaged the file.",
    "utf8_mangled": "A text conversion (UTF-8) has destroyed the samples.",
    "truncated_header": "The file ends inside its header, before any audio.",
    "header_too_long": "The header claims an absurd length.",
    "too_many_chunks": "The header has too many parts to be a real one.",
    "bad_chunk": "The header is damaged.",
    "no_fmt": "The header does not describe the format.",
    "fmt_twice": "The header describes the format twice.",
    "fmt_after_data": "The format is described only after the audio.",
    "bad_fmt_size": "The description of the format has an impossible size.",
    "bad_extensible": "The extended description of the format is damaged.",
    "bad_channels": "The header claims an impossible number of channels.",
    "bad_sample_rate": "The header claims an impossible sample rate.",
    "bad_bits": "The header claims an impossible number of bits per sample.",
    "bad_block_align": "The numbers of the header contradict each other.",
    "no_ds64": "The sizes of 64 bits are missing.",
    "bad_ds64": "The sizes of 64 bits are damaged.",
    "no_data": "The file has a header but no audio.",
    "data_twice": "The file has two parts of audio.",
    "joined_files": "Two recordings were joined into one file.",
    "truncated": "The recording is cut: its end is missing.",
    "data_size_short": "Part of the audio is hidden behind a wrong header.",
    "size_wrapped": "The audio is longer than its header can say.",
    "streaming_header": "The header was written before the length was known.",
    "byte_rate_wrong": "The header's byte rate is wrong.",
    "bits_ignored": "The header's bits per sample do not suit the codec.",
    "riff_size_wrong": "The outer size of the header is wrong.",
    "fact_wrong": "The header counts another number of samples.",
    "partial_frame": "The audio ends inside a sample.",
    "missing_pad": "A padding byte is missing.",
    "big_endian": "The file is big-endian (RIFX); many players cannot read it.",
    "metadata_truncated": "The metadata after the audio is cut; the audio is whole.",
    "trailing_bytes": "Bytes after the audio belong to nothing.",
    "trailing_zeros": "Zero bytes follow the audio.",
    "no_frames": "The file holds no MP3 frames.",
    "format_change": "The format changes in the middle of the recording.",
    "damaged_frames": "Many parts of the recording are damaged.",
    "resync": "Some bytes of the recording are damaged.",
    "junk_before_audio": "Foreign bytes stand before the first MP3 frame.",
    "xing_wrong": "The MP3 header claims another length.",
    "free_format": "The MP3 has no standard bit rate; many players cannot read it.",
    "zero_filled": "The recording has a hole filled with zeros: audio was lost.",
    "silent": "The recording is silent.",
    "constant_value": "A channel is stuck: it carries no sound.",
    "silent_channel": "One channel is silent: one side of the conversation is missing.",
    "dead_tail": "The end of the recording is silent.",
    "long_silence": "The recording has a long silence.",
    "format.container": "The line of business does not take this container.",
    "format.codec": "The line of business does not take this codec.",
    "format.sample_rate_hz": "The line of business does not take this sample rate.",
    "format.channels": "The line of business does not take this number of channels.",
    "duration.bounds": "The recording is shorter or longer than the line of business takes.",
    "duration.longer": "The recording is longer than its call.",
    "duration.much_shorter": "Most of the call is missing in the recording.",
    "duration.shorter": "The recording is shorter than its call.",
    "duration.paused": "The recording is shorter than its call, which has sensitive steps.",
    "content.silent": "The recording is silence.",
    "content.one_way": "One side of the conversation is missing.",
    "content.dead_tail": "The end of the recording is silent.",
    "identity.dialog": "The file's name names another dialog.",
    "identity.account": "The file's name names another account.",
    "identity.metadata": "What the sender says contradicts the file's name.",
    "identity.start": "The time in the file's name is far from the call's start.",
    "rule.attached": "Attached data that the line of business requires is missing.",
    "rule.name": "The file's name is not as the line of business requires.",
    "rule.direction": "The line of business takes no calls of this direction.",
}

# Sentences around the facts of a call; core.explain fills them in.
SAYS: Final[dict[str, str]] = {
    "unknown_only": "Only messages of unknown types speak of this call; there is nothing to do.",
    "days_left": "OCP deletes its data in {days} days.",
    "deleted": "OCP has deleted its data.",
    "stored": "The recording is in {bucket} at {key}.",
    "person_said": "{by} said so: {reason}",
    "flag": "the flag “{flag}”",
    "version": "A recording of {bytes} bytes came by {source}; {state}.",
    "valid": "it is valid",
    "unusable": "it is unusable",
    "unjudged": "it is not judged yet",
    "window": "{start} to {end}",
    "export_read": "Export {job} of {window} was read: {held}.",
    "export_asked": "An export of {window} was asked for.",
    "held": "it held {what}",
    "held_nothing": "it held nothing of this call",
    "closed": "It was closed as {outcome}: {reason}",
    "closed_by": "It was closed as {outcome} by {by}: {reason}",
    "nothing": "Nothing.",
    "missing": "Missing: {what}.",
    "due_now": "due now",
    "due_at": "at {time}",
}


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """All tables of one language."""

    why: dict[str, str]
    next: dict[str, str]
    acts: dict[str, str]
    needs: dict[str, str]
    flags: dict[str, str]
    outcomes: dict[str, str]
    sources: dict[str, str]
    problems: dict[str, str]
    says: dict[str, str]
    decimal: str

    def problem(self, code: str) -> str | None:
        """What a problem's code says is wrong; None for a code that is none of ours."""
        family, _, name = code.partition(".")
        text = self.problems.get(code) or self.problems.get(f"{family}.*")
        return None if text is None else text.format(name=name)

    def number(self, value: float) -> str:
        """One decimal."""
        return f"{value:.1f}".replace(".", self.decimal)


WORDS: Final = Words(
    why=WHY, next=NEXT, acts=ACTS, needs=NEEDS, flags=FLAG_WORDS, outcomes=OUTCOME_WORDS,
    sources=SOURCE_WORDS, problems=PROBLEMS, says=SAYS, decimal=".",
)  # fmt: skip
