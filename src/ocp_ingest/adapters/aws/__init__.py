"""The ports on AWS: DynamoDB, S3, SQS, EventBridge Scheduler. See docs/decisions/0020."""
