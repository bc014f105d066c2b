"""The same join in other frameworks, each as its own documentation would have it written.

Each reads the three canonical topics from their beginning, joins by puid in a store with a changelog, counts
(service, minute, predicted, label), prints `NAME EVENTS_PER_SECOND`, measured from its first event to its
last, and ends.
Arguments of all: BOOTSTRAP REQUESTS RESPONSES FEEDBACK EVENTS PARTITIONS APP_ID.
"""
