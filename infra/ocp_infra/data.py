"""The table: everything but audio and long lists.

The shape is that of ocp_ingest.adapters.aws.table.TABLE; a test compares the two. On demand: one
million calls a month are less than one write per second and index, and outages of OCP's streaming
end in bursts.
"""

from __future__ import annotations

from typing import Final

from aws_cdk import CfnDeletionPolicy
from aws_cdk import aws_dynamodb as dynamodb
from constructs import Construct

from ocp_infra.keys import Keys
from ocp_infra.names import Names

KEY: Final = (("pk", "S"), ("sk", "S"))
# Index -> its keys and what it projects beside them (None: nothing).
# Index -> its keys, and what it projects beside those and the table's.
INDEXES: Final[dict[str, tuple[tuple[tuple[str, str], ...], tuple[str, ...]]]] = {
    "pending": ((("pend_pk", "S"), ("pend_at", "S")), ("o", "day_pk", "day_at")),
    "by_day": ((("day_pk", "S"), ("day_at", "N")), ("o", "g")),
    "by_id": ((("id_pk", "S"), ("pk", "S")), ("u",)),
}
EXPIRES_ATTRIBUTE: Final = "expires_at"


class Data(Construct):
    """The table, which outlives the stack."""

    def __init__(self, scope: Construct, names: Names, keys: Keys) -> None:
        super().__init__(scope, "Data")
        attributes = dict([*KEY, *(key for index, _ in INDEXES.values() for key in index)])
        self.table = dynamodb.CfnTable(
            self,
            "Table",
            table_name=names.prefix,
            billing_mode="PAY_PER_REQUEST",
            attribute_definitions=[
                dynamodb.CfnTable.AttributeDefinitionProperty(
                    attribute_name=name, attribute_type=kind
                )
                for name, kind in attributes.items()
            ],
            key_schema=_schema(KEY),
            global_secondary_indexes=[_index(name, *shape) for name, shape in INDEXES.items()],
            stream_specification=dynamodb.CfnTable.StreamSpecificationProperty(
                stream_view_type="NEW_AND_OLD_IMAGES"
            ),
            sse_specification=dynamodb.CfnTable.SSESpecificationProperty(
                sse_enabled=True, sse_type="KMS", kms_master_key_id=keys.data.key_arn
            ),
            point_in_time_recovery_specification=(
                dynamodb.CfnTable.PointInTimeRecoverySpecificationProperty(
                    point_in_time_recovery_enabled=True
                )
            ),
            time_to_live_specification=dynamodb.CfnTable.TimeToLiveSpecificationProperty(
                attribute_name=EXPIRES_ATTRIBUTE, enabled=True
            ),
            deletion_protection_enabled=True,
        )
        self.table.cfn_options.deletion_policy = CfnDeletionPolicy.RETAIN
        self.table.cfn_options.update_replace_policy = CfnDeletionPolicy.RETAIN
        self.name = self.table.ref
        self.arn = self.table.attr_arn
        self.stream_arn = self.table.attr_stream_arn


def _schema(keys: tuple[tuple[str, str], ...]) -> list[dynamodb.CfnTable.KeySchemaProperty]:
    return [
        dynamodb.CfnTable.KeySchemaProperty(attribute_name=name, key_type=kind)
        for (name, _), kind in zip(keys, ("HASH", "RANGE"), strict=True)
    ]


def _index(
    name: str, keys: tuple[tuple[str, str], ...], projected: tuple[str, ...]
) -> dynamodb.CfnTable.GlobalSecondaryIndexProperty:
    return dynamodb.CfnTable.GlobalSecondaryIndexProperty(
        index_name=name,
        key_schema=_schema(keys),
        projection=dynamodb.CfnTable.ProjectionProperty(
            projection_type="INCLUDE", non_key_attributes=list(projected)
        ),
    )
