-- Under another default a snapshot would not be one.
SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ
