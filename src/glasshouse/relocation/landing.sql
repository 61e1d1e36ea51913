-- The statements of what has landed, and of the work that is left.

-- name: begin_pass
insert into relocation.pass (relocation, number) values (%(relocation)s, %(pass)s) on conflict do nothing returning 1;

-- name: first_shard
insert into relocation.shard (relocation, pass, after, cursor) values (%(relocation)s, %(pass)s, '', '');

-- Skipping what others have locked lets any number of workers ask at once. A lease that has run out was a worker's that
-- was killed, or is too slow to be believed.
-- name: claim
update relocation.shard set worker = %(worker)s, lease_until = now() + %(lease)s * interval '1 second'
where (relocation, pass, id) in (
    select relocation, pass, id from relocation.shard
    where relocation = %(relocation)s and pass = %(pass)s and not done and (lease_until is null or lease_until < now())
    order by id limit 1 for update skip locked
)
returning id, upto, cursor;

-- name: renew
update relocation.shard set lease_until = now() + %(lease)s * interval '1 second'
where relocation = %(relocation)s and pass = %(pass)s and id = %(id)s and worker = %(worker)s and not done
returning 1;

-- name: advance
update relocation.shard set
    cursor = %(cursor)s, landed = landed + %(landed)s, size = size + %(size)s, vanished = vanished + %(vanished)s,
    done = %(done)s, worker = case when %(done)s then null else worker end,
    lease_until = case when %(done)s then null else now() + %(lease)s * interval '1 second' end
where relocation = %(relocation)s and pass = %(pass)s and id = %(id)s and worker = %(worker)s and not done
returning upto;

-- name: release
update relocation.shard set worker = null, lease_until = null
where relocation = %(relocation)s and pass = %(pass)s and id = %(id)s and worker = %(worker)s;

-- name: want
update relocation.pass set wanted_until = now() + interval '5 seconds'
where relocation = %(relocation)s and number = %(pass)s;

-- name: wanted
select 1 from relocation.pass
where relocation = %(relocation)s and number = %(pass)s and wanted_until > now();

-- name: cut
update relocation.shard set upto = %(at)s
where relocation = %(relocation)s and pass = %(pass)s and id = %(id)s and worker = %(worker)s and not done
    and cursor < %(at)s and upto is not distinct from %(upto)s
returning 1;

-- name: add_rest
insert into relocation.shard (relocation, pass, after, upto, cursor)
values (%(relocation)s, %(pass)s, %(at)s, %(upto)s, %(at)s);

-- name: satisfied
update relocation.pass set wanted_until = null where relocation = %(relocation)s and number = %(pass)s;

-- name: left
select count(*) from relocation.shard where relocation = %(relocation)s and pass = %(pass)s and not done;

-- name: totals
select coalesce(sum(landed), 0)::bigint, coalesce(sum(size), 0)::bigint, coalesce(sum(vanished), 0)::bigint
from relocation.shard where relocation = %(relocation)s and pass = %(pass)s;

-- name: passes
select coalesce(max(number), 0) from relocation.pass where relocation = %(relocation)s;

-- name: known
select handle, key, ordinal, version, tag, modified, listed_size, content is null
from relocation.landed
where relocation = %(relocation)s and key > %(after)s and (%(upto)s::bytea is null or key <= %(upto)s)
order by key, ordinal limit %(limit)s;

-- name: land
insert into relocation.landed (
    relocation, handle, key, ordinal, version, tag, modified, listed_size, content, size, commitment, sealed,
    sealed_size, wrapped_by, custodian, wrapped, transfer_by, transfer
)
select %(relocation)s, * from unnest(
    %(handle)b::bytea[], %(key)b::bytea[], %(ordinal)b::integer[], %(version)s::text[], %(tag)s::text[],
    %(modified)b::bigint[], %(listed_size)b::bigint[], %(content)b::bytea[], %(size)b::bigint[],
    %(commitment)b::bytea[], %(sealed)b::bytea[], %(sealed_size)b::bigint[], %(wrapped_by)s::text[],
    %(custodian)b::bytea[], %(wrapped)b::bytea[], %(transfer_by)s::text[], %(transfer)b::bytea[]
);

-- name: vanish
delete from relocation.landed where relocation = %(relocation)s and handle = any(%(handles)b);

-- name: after
select handle, key, ordinal, commitment, content, size, sealed, sealed_size, wrapped_by, custodian, wrapped,
    transfer_by, transfer
from relocation.landed
where relocation = %(relocation)s and handle > %(after)s order by handle limit %(limit)s;

-- name: of
select handle, key, ordinal, commitment, content, size, sealed, sealed_size, wrapped_by, custodian, wrapped,
    transfer_by, transfer
from relocation.landed where relocation = %(relocation)s and handle = any(%(handles)b) order by handle;

-- name: forget_transfers
update relocation.landed set transfer_by = null, transfer = null
where relocation = %(relocation)s and handle = any(%(handles)b) and transfer is not null;

-- name: transfers_after
select handle from relocation.landed
where relocation = %(relocation)s and handle > %(after)s and transfer is not null order by handle limit %(limit)s;

-- name: size
select count(*), coalesce(sum(size), 0)::bigint from relocation.landed where relocation = %(relocation)s;
