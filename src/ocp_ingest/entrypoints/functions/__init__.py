"""AWS Lambda's doors to stage 2: `<name>.handler(event, context)`, one module per function.

function       who calls it                       what it does
detect         a schedule; Replan; ourselves      looks at what is due, starts executions
export         the state machine, by `op`         one step of an export job
puller         Scheduler, when a timer rings      polls, sets the next timer or answers the token
metadata       the state machine                  reads the small CDR files of an export
finish         the state machine                  counts what a round brought, settles the job
dead_letters   the download queue's dead letters  lets the waiting state fail at once

A handler parses, calls, translates; what it raises has the name of its fate (runtime.py).
"""
