-- The statements of customers' accounts.

-- Nothing is changed for a customer who is enrolled and not revoked, or whose country is another.
-- name: enrol
insert into customers.customer (id, country, public_key, token_sha256, enrolled, changed)
values (%(id)s, %(country)s, %(public_key)s, %(token_sha256)s, %(now)s, %(changed)s)
on conflict (id) do update set
    public_key = excluded.public_key, token_sha256 = excluded.token_sha256, enrolled = excluded.enrolled,
    revoked = null, changed = greatest(customer.changed + 1, excluded.changed)
where customer.revoked is not null and customer.country = excluded.country
returning id;

-- name: revoke
update customers.customer
set revoked = greatest(enrolled, %(now)s), changed = greatest(changed + 1, %(changed)s)
where id = %(id)s and revoked is null returning id;

-- name: by_token
select id, country, public_key, enrolled, revoked, off, categories_off, bytes_per_day from customers.customer
where token_sha256 = %(token_sha256)s and revoked is null;

-- name: by_id
select id, country, public_key, enrolled, revoked, off, categories_off, bytes_per_day from customers.customer
where id = %(id)s;

-- name: all
select id, country, public_key, enrolled, revoked, off, categories_off, bytes_per_day from customers.customer
order by id;

-- name: decide
update customers.customer
set off = %(off)s, categories_off = %(categories_off)s, bytes_per_day = %(bytes_per_day)s,
    changed = greatest(changed + 1, %(changed)s)
where id = %(id)s and revoked is null returning id;

-- What a site that takes over asks for, in the order of the ids.
-- name: page
select id, country, public_key, token_sha256, enrolled, revoked, off, categories_off, bytes_per_day, changed, day, bytes
from customers.customer left join lateral (
    select day, bytes from customers.usage where customer = customer.id order by day desc limit 1
) as used on true
where id > %(after)s order by id limit %(limit)s;

-- The later word counts. Nobody is let in by a token that is another's here already.
-- name: take_over
insert into customers.customer (
    id, country, public_key, token_sha256, enrolled, revoked, off, categories_off, bytes_per_day, changed
)
select %(id)s, %(country)s, %(public_key)s, %(token_sha256)s, %(enrolled)s, %(revoked)s, %(off)s, %(categories_off)s,
    %(bytes_per_day)s, %(changed)s
where not exists (
    select 1 from customers.customer where token_sha256 = %(token_sha256)s and id <> %(id)s
)
on conflict (id) do update set
    public_key = excluded.public_key, token_sha256 = excluded.token_sha256, enrolled = excluded.enrolled,
    revoked = excluded.revoked, off = excluded.off, categories_off = excluded.categories_off,
    bytes_per_day = excluded.bytes_per_day, changed = excluded.changed
where excluded.changed > customer.changed and excluded.country = customer.country;

-- What was carried over before is counted once.
-- name: carry_over
insert into customers.usage (customer, day, bytes, carried)
select id, %(day)s, %(bytes)s, %(bytes)s from customers.customer where id = %(id)s
on conflict (customer, day) do update set
    bytes = greatest(0, usage.bytes - usage.carried) + excluded.carried, carried = excluded.carried;

-- name: use
insert into customers.usage (customer, day, bytes)
select %(id)s, %(day)s, %(bytes)s where %(bytes)s <= %(limit)s
on conflict (customer, day) do update set bytes = usage.bytes + excluded.bytes
where usage.bytes + excluded.bytes <= %(limit)s
returning bytes;

-- name: give_back
update customers.usage set bytes = greatest(0, bytes - %(bytes)s) where customer = %(id)s and day = %(day)s;

-- name: used
select bytes from customers.usage where customer = %(id)s and day = %(day)s;

-- name: forget_days
delete from customers.usage where customer = %(id)s and day < %(day)s;

-- Objects of one customer, at whichever site they were taken; those of others do not exist for it. One without the
-- signatures of all the sites that have to hold it has no receipt yet.
-- name: own_objects
select handle, site, number, state, taken, category, size, retention, sha256, on_hold from regions.object
where customer = %(customer)s and (signatures is not null or state = 'removed')
    and (taken, handle) > (%(after_taken)s, %(after_handle)s)
order by taken, handle
limit %(limit)s;

-- name: own_object
select handle, site, number, state, customer, country, customer_key, sha256, size, category, retention, epoch, charter,
    party, salt, taken, sealed_sha256, sealed_size, signatures, on_hold
from regions.object where customer = %(customer)s and handle = %(handle)s
    and (signatures is not null or state = 'removed');
