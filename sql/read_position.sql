-- Where the table ends and what the server's clock says; the first is answered from the primary key alone.
SELECT MAX(clientHistId), UTC_TIMESTAMP() FROM clienthist
