-- The statements of the vault and its journals.
--
-- Those that name handles say `state || '' = 'held'`: before the first statistics `state = 'held'` looks rare, and every
-- object that is held would be read by the index of those.

-- name: claim_site
insert into regions.site (region, site) values (%(region)s, %(site)s) on conflict (one) do nothing;

-- name: site
select region, site, epoch from regions.site;

-- name: open_journals
insert into regions.journal (site) select * from unnest(%(sites)s::text[]) on conflict (site) do nothing;

-- name: open_peers
insert into regions.peer (site) select * from unnest(%(peers)s::text[]) on conflict (site) do nothing;

-- name: journals
select site, position, number, chain, received, refused from regions.journal order by site;

-- The row lock keeps the numbers steady between here and the commit.
-- name: lock_journal
select position, number, chain, (select epoch from regions.site) from regions.journal
where journal.site = %(site)s for update;

-- name: add_events
insert into regions.event (site, position, kind, number, handle, body, digest, chain)
select %(site)s, * from unnest(
    %(positions)b::bigint[], %(kinds)s::text[], %(numbers)b::bigint[], %(handles)b::bytea[], %(bodies)b::bytea[],
    %(digests)b::bytea[], %(chains)b::bytea[]
);

-- name: add_objects
insert into regions.object (
    site, position, number, handle, customer, country, customer_key, sha256, size, category, retention, epoch,
    charter, party, salt, taken, sealed_sha256, sealed_size, wrapped_by, custodian, wrapped, transfer_by, transfer,
    signatures
)
select %(site)s, * from unnest(
    %(position)b::bigint[], %(number)b::bigint[], %(handle)b::bytea[], %(customer)s::text[], %(country)s::text[],
    %(customer_key)b::bytea[], %(sha256)b::bytea[], %(size)b::bigint[], %(category)s::text[], %(retention)b::bigint[],
    %(epoch)b::bigint[], %(charter)b::bytea[], %(party)s::text[], %(salt)b::bytea[], %(time)b::bigint[],
    %(sealed_sha256)b::bytea[], %(sealed_size)b::bigint[], %(wrapped_by)s::text[], %(custodian)b::bytea[],
    %(wrapped)b::bytea[], %(transfer_by)s::text[], %(transfer)b::bytea[], %(signatures)b::bytea[]
);

-- An object whose facts were gone already when this replica of the journal was made.
-- name: add_removed
insert into regions.object (site, position, number, handle, state)
select %(site)s, position, number, handle, 'removed' from unnest(
    %(positions)b::bigint[], %(numbers)b::bigint[], %(handles)b::bytea[]
) as gone (position, number, handle);

-- name: events
select event.position, event.kind, event.number, event.handle, event.body, event.digest, event.chain,
    object.state, object.customer, object.country, object.customer_key, object.sha256, object.size, object.category,
    object.retention, object.epoch, object.charter, object.party, object.salt, object.taken, object.sealed_sha256,
    object.sealed_size, object.wrapped_by, object.custodian, object.wrapped, object.transfer_by, object.transfer, object.signatures
from regions.event left join regions.object on event.kind = 'stored' and object.handle = event.handle
where event.site = %(site)s and event.position > %(after)s
order by event.position
limit %(limit)s;

-- name: digests
select position, digest from regions.event
where site = %(site)s and position > %(after)s order by position limit %(limit)s;

-- name: chain_at
select chain from regions.event where site = %(site)s and position = %(position)s;

-- One look into the index for each (offset 0 keeps the planner from joining them with every object of the customer).
-- name: find_held
select found.handle, asked.customer, asked.sha256
from unnest(%(customers)s::text[], %(digests)b::bytea[]) as asked (customer, sha256)
cross join lateral (
    select handle from regions.object
    where object.customer = asked.customer and object.sha256 = asked.sha256 and object.state = 'held' offset 0
) as found;

-- name: receipts
select handle, site, number, customer, country, customer_key, sha256, size, category, retention, epoch, charter, party,
    salt, taken, sealed_sha256, sealed_size, position, signatures
from regions.object where handle = any(%(handles)b) and state || '' = 'held';

-- name: sign_receipts
update regions.object set signatures = coalesce(object.signatures, signed.signatures),
    transfer = case when %(drop)s then null else transfer end,
    transfer_by = case when %(drop)s then null else transfer_by end
from unnest(%(handles)b::bytea[], %(signatures)b::bytea[]) as signed (handle, signatures)
where object.handle = signed.handle and object.state || '' = 'held';

-- name: acknowledge
update regions.peer set acknowledged = greatest(acknowledged, %(position)s) where site = %(peer)s;

-- name: acknowledged
select site, acknowledged from regions.peer order by site;

-- name: first_unsigned
select min(position) from regions.object where site = %(site)s and signatures is null and state = 'held';

-- name: drop_transfers
update regions.object set transfer = null, transfer_by = null
where site = %(site)s and transfer is not null and position > %(after)s
    and position <= (select min(acknowledged) from regions.peer where site = any(%(peers)s));

-- name: count_uploads
update regions.journal set received = received + %(received)s, refused = refused + %(refused)s where site = %(site)s;

-- name: set_counts
update regions.journal set received = %(received)s, refused = %(refused)s where site = %(site)s;

-- name: set_epoch
update regions.site set epoch = greatest(epoch, %(epoch)s);

-- name: remove_objects
update regions.object set state = 'removed', on_hold = false, sha256 = null, salt = null, customer_key = null,
    wrapped = null, wrapped_by = null, custodian = null, transfer = null, transfer_by = null, signatures = null
where handle = any(%(handles)b) and state || '' = 'held';

-- name: hold_objects
update regions.object set on_hold = %(on_hold)s where handle = any(%(handles)b) and state || '' = 'held';

-- name: held_handles
select handle from regions.object where handle = any(%(handles)b) and state || '' = 'held';

-- name: known_handles
select handle from regions.object where handle = any(%(handles)b);

-- name: held_after
select handle, sealed_sha256, sealed_size from regions.object
where state = 'held' and handle > %(after)s order by handle limit %(limit)s;

-- name: object
select site, state, sealed_sha256, sealed_size, wrapped_by, custodian, wrapped from regions.object
where handle = %(handle)s;

-- name: lock_committer
select pg_try_advisory_lock(1735811432, 1);

-- name: unlock_committer
select pg_advisory_unlock_all();
