"""ministack with three answers of its S3 put right; run as a module.

ministack 1.5                                       here, as in the API reference
CopyObject ignores If-None-Match and overwrites     412, and nothing is touched
CopyObject computes no checksum that is asked for   ChecksumSHA256 of the copy, also in the answer
CompleteMultipartUpload knows checksums over        FULL_OBJECT: compared with that of the whole,
parts only                                          BadDigest before anything is visible
The contract suite runs on ministack as it is, with these as declared differences, and on other
servers in `make test-aws`; this one is for tests of failures, which need all three at once.
"""

from __future__ import annotations

import base64
import importlib
from typing import Any
from xml.etree import ElementTree

from awscrt.checksums import crc64nvme

_NS = "http://s3.amazonaws.com/doc/2006-03-01/"


def correct(s3: Any) -> None:
    """Puts the module's answers right, in place."""
    copy, complete = s3._copy_object, s3._complete_multipart_upload
    compute = s3._compute_s3_checksum

    def compute_checksum(algorithm: str, body: bytes) -> str | None:
        if algorithm.upper() == "CRC64NVME":  # the same, without a loop over bytes in Python
            return _crc(body)
        said: str | None = compute(algorithm, body)
        return said

    def copy_object(bucket: str, key: str, headers: dict[str, str]) -> Any:
        held = (s3._ensure_bucket(bucket) or {}).get("objects", {}).get(key)
        refused = s3._check_put_preconditions(headers, held)
        if refused is not None:
            return refused
        algorithm = headers.get("x-amz-checksum-algorithm", "")
        asked = {**headers, "x-amz-sdk-checksum-algorithm": algorithm} if algorithm else headers
        status, said, body = copy(bucket, key, asked)
        if status == 200 and algorithm:
            made = s3._ensure_bucket(bucket)["objects"][key]
            made["checksums"] = {algorithm: made["checksums"][algorithm]}
            root = ElementTree.fromstring(body)
            ElementTree.SubElement(root, f"{{{_NS}}}Checksum{algorithm}").text = made["checksums"][
                algorithm
            ]
            body = ElementTree.tostring(root, default_namespace=_NS)
        return status, said, body

    def complete_upload(
        bucket: str, key: str, body: bytes, query: Any, headers: dict[str, str] | None = None
    ) -> Any:
        told = dict(headers or {})
        wanted = told.pop("x-amz-checksum-crc64nvme", "")
        upload = s3._multipart_uploads.get(s3._qp(query, "uploadId"))
        if wanted and upload is not None:
            whole = b"".join(part["body"] for _, part in sorted(upload["parts"].items()))
            if _crc(whole) != wanted:
                return s3._error("BadDigest", "The CRC64NVME is another one.", 400)
            # No digest over parts is made, so the object's own is what is kept.
            upload["checksum_algorithm"] = None
        answer = complete(bucket, key, body, query, told)
        if wanted and answer[0] == 200:
            made = s3._ensure_bucket(bucket)["objects"][key]
            made["checksums"], made["checksum_type"] = {"CRC64NVME": wanted}, "FULL_OBJECT"
        return answer

    s3._compute_s3_checksum = compute_checksum
    s3._copy_object, s3._complete_multipart_upload = copy_object, complete_upload


def _crc(body: bytes) -> str:
    return base64.b64encode(crc64nvme(body).to_bytes(8, "big")).decode()


if __name__ == "__main__":
    correct(importlib.import_module("ministack.services.s3"))
    importlib.import_module("ministack.app").main()
