-- The statements of the vault and its journals.

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
select position, number, chain, site.epoch from regions.journal, regions.site
where journal.site = %(site)s for update of journal;

-- name: add_events
insert into regions.event (site, position, kind, number, handle, body, digest, chain)
select %(site)s, * from unnest(
    %(positions)s::bigint[], %(kinds)s::text[], %(numbers)s::bigint[], %(handles)s::bytea[], %(bodies)s::bytea[],
    %(digests)s::bytea[], %(chains)s::bytea[]
);

-- name: add_objects
insert into regions.object (
    site, charter, party, position, handle, number, customer, country, customer_key, sha256, size, category, retention,
    epoch, salt, taken, sealed_sha256, sealed_size, wrapped_by, wrapped, transfer_by, transfer
)
select %(site)s, * from unnest(
    %(charter)s::bytea[], %(party)s::text[], %(position)s::bigint[], %(handle)s::bytea[], %(number)s::bigint[],
    %(customer)s::text[], %(country)s::text[], %(customer_key)s::bytea[], %(sha256)s::bytea[], %(size)s::bigint[],
    %(category)s::text[], %(retention)s::bigint[], %(epoch)s::bigint[], %(salt)s::bytea[], %(taken)s::bigint[],
    %(sealed_sha256)s::bytea[], %(sealed_size)s::bigint[], %(wrapped_by)s::text[], %(wrapped)s::bytea[],
    %(transfer_by)s::text[], %(transfer)s::bytea[]
);

-- An object whose facts were gone already when this replica of the journal was made.
-- name: add_removed
insert into regions.object (site, position, handle, number, state)
select %(site)s, *, 'removed' from unnest(%(positions)s::bigint[], %(handles)s::bytea[], %(numbers)s::bigint[]);

-- name: events
select event.position, event.kind, event.number, event.handle, event.body, event.digest, event.chain,
    object.state, object.customer, object.country, object.customer_key, object.sha256, object.size, object.category,
    object.retention, object.epoch, object.charter, object.party, object.salt, object.taken, object.sealed_sha256,
    object.sealed_size, object.wrapped_by, object.wrapped, object.transfer_by, object.transfer
from regions.event left join regions.object on event.kind = 'stored' and object.handle = event.handle
where event.site = %(site)s and event.position > %(after)s
order by event.position
limit %(limit)s;

-- name: chain_at
select chain from regions.event where site = %(site)s and position = %(position)s;

-- name: find_held
select handle, customer, sha256 from regions.object
where state = 'held' and (customer, sha256) in (select * from unnest(%(customers)s::text[], %(digests)s::bytea[]));

-- name: receipts
select handle, site, number, customer, country, customer_key, sha256, size, category, retention, epoch, charter, party,
    salt, taken, signatures
from regions.object where state = 'held' and handle = any(%(handles)s);

-- name: sign_receipts
update regions.object set signatures = coalesce(object.signatures, signed.signatures)
from unnest(%(handles)s::bytea[], %(signatures)s::bytea[]) as signed (handle, signatures)
where object.handle = signed.handle and object.state = 'held';

-- name: acknowledge
update regions.peer set acknowledged = greatest(acknowledged, %(position)s) where site = %(peer)s;

-- name: acknowledged
select site, acknowledged from regions.peer order by site;

-- name: drop_transfers
update regions.object set transfer = null, transfer_by = null
where site = %(site)s and transfer is not null
    and position <= (select min(acknowledged) from regions.peer where site = any(%(peers)s));

-- name: count_uploads
update regions.journal set received = received + %(received)s, refused = refused + %(refused)s where site = %(site)s;

-- name: set_counts
update regions.journal set received = %(received)s, refused = %(refused)s where site = %(site)s;

-- name: set_epoch
update regions.site set epoch = %(epoch)s;

-- name: remove_objects
update regions.object set state = 'removed', on_hold = false, sha256 = null, salt = null, customer_key = null,
    wrapped = null, wrapped_by = null, transfer = null, transfer_by = null, signatures = null
where handle = any(%(handles)s) and state = 'held';

-- name: hold_objects
update regions.object set on_hold = %(on_hold)s where handle = any(%(handles)s) and state = 'held';

-- name: held_handles
select handle from regions.object where state = 'held' and handle = any(%(handles)s);

-- name: held_after
select handle, sealed_sha256, sealed_size from regions.object
where state = 'held' and handle > %(after)s order by handle limit %(limit)s;

-- name: object
select site, state, sealed_sha256, sealed_size, wrapped_by, wrapped, on_hold from regions.object
where handle = %(handle)s;
