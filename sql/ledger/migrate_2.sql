-- When the certificate of each target, as it was last seen, and the one that we show it end.
ALTER TABLE target ADD COLUMN certificate_not_after INTEGER;
ALTER TABLE target ADD COLUMN client_certificate_not_after INTEGER;
