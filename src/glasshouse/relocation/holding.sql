-- What the supervisor of a move is given of objects that this site holds.

-- name: opened
select handle, category, customer, retention, salt, sealed_sha256, wrapped_by, custodian, wrapped
from regions.object where handle = any(%(handles)s) and state = 'held';

-- name: sealed
select handle, state, sealed_sha256, sealed_size from regions.object where handle = any(%(handles)s);

-- The inventory that stands in the tables: its number, cut and statement, and the bytes of content behind its rows.
-- name: standing
select inventory.epoch, inventory.cut, inventory.statement,
    (select coalesce(sum(object.size), 0)::bigint from regions.inventory_row as line
        join regions.object on object.handle = line.key where line.tree = 'held')
from regions.inventory order by inventory.epoch desc limit 1;

-- name: inventory_of
select statement from regions.inventory where epoch = %(epoch)s;

-- name: content_size
select coalesce(sum(size), 0)::bigint from regions.object where handle = any(%(handles)s);
