-- The statements of inventories: `inventory_tables.py`.

-- name: newest
select epoch, cut, closed_at, encode(statement, 'hex'), envelope from regions.inventory order by epoch desc limit 1;

-- name: add_inventory
insert into regions.inventory (epoch, cut, closed_at, statement, envelope, delta, posted)
values (%(epoch)s, %(cut)b, %(closed_at)s, decode(%(statement)s, 'hex'), %(envelope)b, %(delta)b, %(posted)s);

-- name: unposted
select epoch, envelope, delta from regions.inventory where not posted order by epoch;

-- name: set_posted
update regions.inventory set posted = true where epoch = %(epoch)s;

-- name: delta_of
select delta from regions.inventory where epoch = %(epoch)s;

-- Lowest site first: where two sites announced one epoch, all agree on which counts.
-- name: announced
select site, position, body from regions.event
where kind = 'epoch' and (convert_from(body, 'UTF8')::json ->> 'epoch')::bigint = %(epoch)s
order by site, position;

-- name: stored_between
select event.handle, object.state, object.customer, object.category, object.retention, object.sha256, object.size,
    object.salt
from regions.event join regions.object on object.handle = event.handle
where event.site = %(site)s and event.kind = 'stored' and event.position > %(after)s and event.position <= %(upto)s;

-- name: facts
select handle, state, customer, category, retention, sha256, size, salt from regions.object
where handle = any(%(handles)b);

-- Every removal up to the cut of objects that are held at it; `handles` are those that came with this epoch.
-- name: removed_upto
select site, position, handle, body from regions.event
where kind = 'removed' and site = %(site)s and position <= %(upto)s
    and (position > %(after)s or handle = any(%(handles)b));

-- name: newest_removal
select max((convert_from(body, 'UTF8')::json ->> 'time')::bigint) from regions.event
where kind = 'removed' and site = %(site)s and position > %(after)s and position <= %(upto)s;

-- name: first_removal
select distinct on (handle) handle, body from regions.event
where kind = 'removed' and handle = any(%(handles)b) order by handle, site, position;

-- name: rekeyed_upto
select site, position, body from regions.event
where kind = 'rekeyed' and site = %(site)s and position <= %(upto)s order by position;

-- name: last_counters
select body from regions.event
where kind = 'counters' and site = %(site)s and position <= %(upto)s order by position desc limit 1;

-- name: last_number
select coalesce(max(number), 0) from regions.event
where kind = 'stored' and site = %(site)s and position <= %(upto)s;

-- name: holds_upto
select handle, sum(case kind when 'held' then 1 when 'released' then -1 end) from regions.event
where kind in ('held', 'released') and site = %(site)s and position <= %(upto)s group by handle;

-- name: rows_known
select key from regions.inventory_row where tree = %(tree)s and key = any(%(keys)b);

-- name: residue
select row, site, position from regions.inventory_row where site is not null order by key;

-- name: put_rows
insert into regions.inventory_row (tree, key, row, site, position)
select %(tree)s, * from unnest(%(keys)b::bytea[], %(rows)b::bytea[], %(sites)s::text[], %(positions)b::bigint[])
on conflict (tree, key) do update set row = excluded.row, site = excluded.site, position = excluded.position;

-- name: drop_held
delete from regions.inventory_row where tree = 'held' and key = any(%(keys)b);

-- name: shard_rows
select key, row from regions.inventory_row
where tree = %(tree)s and key >= %(low)b and key <= %(high)b order by key;

-- Leaf hashes of each shard named, one after the other in order of their keys; null where it has no row.
-- name: leaves_of
select shard.prefix, found.leaves
from unnest(%(prefixes)s::text[], %(lows)b::bytea[], %(highs)b::bytea[]) as shard (prefix, low, high)
cross join lateral (
    select string_agg(sha256('\x00'::bytea || row), ''::bytea order by key) as leaves from regions.inventory_row
    where tree = %(tree)s and key >= shard.low and key <= shard.high
) as found;

-- The same of all shards that have rows; a prefix as the first bytes of the key.
-- name: all_leaves
select substring(key for %(bytes)s), string_agg(sha256('\x00'::bytea || row), ''::bytea order by key)
from regions.inventory_row where tree = %(tree)s group by 1;

-- name: rows_after
select key, row from regions.inventory_row
where tree = %(tree)s and key > %(after)b order by key limit %(limit)s;

-- name: shards
select prefix, root, size from regions.inventory_shard where tree = %(tree)s;

-- name: put_shards
insert into regions.inventory_shard (tree, prefix, root, size)
select %(tree)s, * from unnest(%(prefixes)s::text[], %(roots)b::bytea[], %(sizes)b::bigint[])
on conflict (tree, prefix) do update set root = excluded.root, size = excluded.size;

-- name: drop_shards
delete from regions.inventory_shard;
