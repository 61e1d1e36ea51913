-- The statements of keeping: what is due, wishes, deletion, key epochs.

-- name: kept_pairs
with recursive pair as (
    (select category, retention from regions.object where state = 'held' order by category, retention limit 1)
    union all
    select following.category, following.retention from pair, lateral (
        select category, retention from regions.object
        where state = 'held' and (category, retention) > (pair.category, pair.retention)
        order by category, retention limit 1
    ) as following
)
select category, retention from pair;

-- name: due
select handle, taken from regions.object
where state = 'held' and category = %(category)s and retention = %(retention)s and taken <= %(until)s
    and site = any(%(sites)s) and not on_hold
order by taken limit %(limit)s;

-- name: held
select site, on_hold, customer_key from regions.object where handle = %(handle)s and state = 'held';

-- name: wish
insert into regions.wish (kind, handle, body) values (%(kind)s, %(handle)s, %(body)s) returning id;

-- name: open_wishes
select id, kind, handle, body from regions.wish where position is null order by id limit %(limit)s;

-- name: fulfil
update regions.wish set position = %(position)s where id = %(id)s;

-- name: wish_position
select position from regions.wish where id = %(id)s;

-- name: acknowledged_by_all
select min(acknowledged) from regions.peer where site = any(%(peers)s);

-- name: cleared
select position from regions.cleared where site = %(site)s;

-- name: removed_after
select position, handle from regions.event
where site = %(site)s and kind = 'removed' and position > %(after)s and position <= %(until)s
order by position limit %(limit)s;

-- name: clear
insert into regions.cleared (site, position) values (%(site)s, %(position)s)
on conflict (site) do update set position = greatest(cleared.position, excluded.position);

-- name: last_of
select kind, body from regions.event where handle = %(handle)s and kind = any(%(kinds)s)
order by position desc limit 1;

-- name: open_rekey
select id, old, covers from regions.rekey where not ended;

-- name: begin_rekey
insert into regions.rekey (old, covers) values (%(old)s, %(covers)s) returning id;

-- name: end_rekey
update regions.rekey set ended = true where id = %(id)s and not ended;

-- name: wrapped_before
select handle, wrapped_by, custodian, wrapped, transfer_by, transfer from regions.object
where state = 'held' and handle > %(after)s and (wrapped_by = any(%(old)s) or transfer_by = any(%(old)s))
order by handle limit %(limit)s;

-- What was removed, or wrapped anew by another, meanwhile stays as it is.
-- name: rewrap
update regions.object set wrapped_by = %(wrapped_by)s, custodian = %(custodian)s, wrapped = %(wrapped)s,
    transfer_by = case when transfer is null then null else coalesce(%(transfer_by)s, transfer_by) end,
    transfer = case when transfer is null then null else coalesce(%(transfer)s, transfer) end
where handle = %(handle)s and state = 'held' and wrapped = %(before)s;

-- name: freeze_objects
lock table regions.object in share row exclusive mode;

-- name: count_wrapped_before
select count(*) from regions.object
where state = 'held' and (wrapped_by = any(%(old)s) or transfer_by = any(%(old)s));

-- name: give_up_keys
insert into regions.destroyed_key (id) select * from unnest(%(old)s::text[]) on conflict do nothing;

-- Whether it was said, or is about to be, that a site which was left has ended.
-- name: is_ended
select 1 from regions.event
where site = %(site)s and kind = 'rekeyed' and convert_from(body, 'UTF8')::json ->> 'ended' = %(ended)s
union all
select 1 from regions.wish where kind = 'rekeyed' and convert_from(body, 'UTF8')::json ->> 'ended' = %(ended)s
limit 1;

-- name: last_covers
select covers from regions.rekey where ended order by id desc limit 1;

-- name: first_removed_after
select body from regions.event
where site = %(site)s and kind = 'removed' and position > %(after)s order by position limit 1;
