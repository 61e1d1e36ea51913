-- Moves that have been fenced.

-- name: add_fence
insert into regions.fence (relocation, site, position, fenced_ms, opened_ms)
values (%(relocation)s, %(site)s, %(position)s, %(fenced_ms)s, %(opened_ms)s) on conflict do nothing;

-- The last inventory of the site that is left, the next one after those announced, shows nothing of its successors.
-- name: skip_epoch
update regions.site set epoch = greatest(epoch, 2 + coalesce((
    select max((convert_from(body, 'UTF8')::json ->> 'epoch')::bigint) from regions.event
    where site = %(site)s and kind = 'epoch' and position < %(position)s
), 0));

-- name: fences
select relocation, site, position, fenced_ms, opened_ms, first_ms, refused from regions.fence;

-- name: is_fenced
select 1 from regions.event where site = %(site)s and kind = 'fenced' limit 1;

-- name: took_first
update regions.fence set first_ms = %(first_ms)s where relocation = %(relocation)s and site = %(site)s and first_ms is null;

-- name: count_refused
update regions.fence set refused = refused + %(refused)s where site = %(site)s;

-- name: keep_resealed
insert into regions.resealed (handle, sealed_sha256)
select * from unnest(%(handles)b::bytea[], %(sealed)b::bytea[]);

-- name: lag
select peer.site, journal.position - peer.acknowledged
from regions.peer join regions.journal on journal.site = %(site)s
where peer.site = any(%(peers)s) order by 1;

-- name: lock_peers
select site from regions.peer order by site for update;

-- name: is_resealed
select 1 from regions.resealed where handle = %(handle)s;

-- Of an object that is held, and that each site has sealed for itself.
-- name: resealed_facts
select object.customer, object.country, object.customer_key, object.sha256, object.size, object.category,
    object.retention, object.epoch, object.charter, object.party, object.salt, object.taken, object.sealed_sha256,
    object.sealed_size
from regions.object join regions.resealed using (handle) where object.handle = %(handle)s and object.state = 'held';

-- Unless it was removed meanwhile, or the key epoch given up that wraps its new key.
-- name: seal_again
update regions.object set sealed_sha256 = %(sealed_sha256)s, sealed_size = %(sealed_size)s,
    wrapped_by = %(wrapped_by)s, custodian = %(custodian)s, wrapped = %(wrapped)s
where handle = %(handle)s and state = 'held'
    and not exists (select 1 from regions.destroyed_key as gone where gone.id = %(wrapped_by)s);
