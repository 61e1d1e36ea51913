-- The statements of customers' accounts.

-- Nothing is changed for a customer who is enrolled and not revoked, or whose country is another.
-- name: enrol
insert into customers.customer (id, country, public_key, token_sha256, enrolled)
values (%(id)s, %(country)s, %(public_key)s, %(token_sha256)s, %(now)s)
on conflict (id) do update set
    public_key = excluded.public_key, token_sha256 = excluded.token_sha256, enrolled = excluded.enrolled, revoked = null
where customer.revoked is not null and customer.country = excluded.country
returning id;

-- name: revoke
update customers.customer set revoked = greatest(enrolled, %(now)s) where id = %(id)s and revoked is null returning id;

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
set off = %(off)s, categories_off = %(categories_off)s, bytes_per_day = %(bytes_per_day)s
where id = %(id)s and revoked is null returning id;

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
