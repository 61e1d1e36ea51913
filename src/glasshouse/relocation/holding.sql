-- What the supervisor of a move is given of objects that this site holds.

-- name: opened
select handle, category, customer, retention, salt, sealed_sha256, wrapped_by, custodian, wrapped
from regions.object where handle = any(%(handles)s) and state = 'held';

-- name: sealed
select handle, state, sealed_sha256, sealed_size from regions.object where handle = any(%(handles)s);
