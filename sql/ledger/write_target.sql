INSERT OR REPLACE INTO target (name, identity, last_success, behind_since, error_kind, error_message, is_unusable,
    full_send_at, may_not_ask, certificate_not_after, client_certificate_not_after, lost_at, lost_wait)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
