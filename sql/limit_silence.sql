-- A host that is frozen, or cut off from the network, is silent on a connection that seems open. The server ends it after
-- this many seconds, and the lock with it; a host that works asks every half second.
SET SESSION wait_timeout = 10
