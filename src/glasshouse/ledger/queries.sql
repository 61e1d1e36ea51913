-- The statements of the ledger room.

-- name: create_log
insert into ledger.log (origin, vkey) values (%(origin)s, %(vkey)s) on conflict (origin) do nothing returning log_id;

-- name: find_log
select log_id, vkey from ledger.log where origin = %(origin)s;

-- name: lock_writer
select pg_try_advisory_lock(1735811431, %(log_id)s);

-- name: unlock_writer
select pg_advisory_unlock_all();

-- The row lock keeps the numbers steady between here and the commit.
-- name: lock_log
select sequenced from ledger.log where log_id = %(log_id)s for update;

-- name: find_leaves
select leaf, index from ledger.entry where log_id = %(log_id)s and leaf = any(%(leaves)b);

-- name: insert_entries
insert into ledger.entry (log_id, index, leaf, data)
select %(log_id)s, * from unnest(%(indexes)b::bigint[], %(leaves)b::bytea[], %(data)b::bytea[]);

-- name: insert_digests
insert into ledger.digest (log_id, index, digest)
select %(log_id)s, * from unnest(%(indexes)b::bigint[], %(digests)b::bytea[]);

-- name: advance
update ledger.log set sequenced = %(sequenced)s where log_id = %(log_id)s;

-- name: take_outbox
select outbox_id, data from ledger.outbox
where log_id = %(log_id)s and refused is null
order by outbox_id
limit %(limit)s
for update skip locked;

-- name: delete_outbox
delete from ledger.outbox where outbox_id = any(%(ids)s);

-- name: refuse_outbox
update ledger.outbox set refused = %(reason)s where outbox_id = %(outbox_id)s;

-- name: head
select sequenced, signed_size, signed_root from ledger.log where log_id = %(log_id)s;

-- name: entries
select index, leaf, data from ledger.entry
where log_id = %(log_id)s and index >= %(start)s and index < %(stop)s
order by index;

-- name: find_index
select index from ledger.entry where log_id = %(log_id)s and leaf = %(leaf)s;

-- name: lookup
select index from ledger.digest
where log_id = %(log_id)s and digest = %(digest)s and index > %(after)s
order by index
limit %(limit)s;

-- The compare-and-swap: nothing is updated unless the newest signed tree is still the one the new tree was built on.
-- name: sign
update ledger.log set signed_size = %(size)s, signed_root = %(root)s
where log_id = %(log_id)s
    and signed_size is not distinct from %(old_size)s and signed_root is not distinct from %(old_root)s
returning log_id;

-- name: insert_checkpoint
insert into ledger.checkpoint (log_id, size, root, signed)
values (%(log_id)s, %(size)s, %(root)s, %(signed)s)
on conflict (log_id, size) do nothing;

-- The first time only: it is the policy in force then that the cosignatures have to satisfy for good, whatever is
-- published later for the same tree.
-- name: set_witnessed
update ledger.checkpoint set witnessed = %(witnessed)s, witnessed_at = now()
where log_id = %(log_id)s and size = %(size)s and witnessed is null;

-- name: newest_signed
select size, signed from ledger.checkpoint where log_id = %(log_id)s order by size desc limit 1;

-- name: first_witnessed_above
select witnessed from ledger.checkpoint
where log_id = %(log_id)s and size > %(index)s and witnessed is not null
order by size limit 1;

-- name: newest_witnessed
select size, witnessed from ledger.checkpoint
where log_id = %(log_id)s and witnessed is not null
order by size desc limit 1;
