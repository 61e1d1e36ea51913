-- The statements of a site that forgets, because its region has left it.

-- name: fenced
select max(position) from regions.event where site = %(site)s and kind = 'fenced';

-- name: stored_after
select handle from regions.event where site = %(site)s and kind = 'stored' and position > %(after)s
order by position limit %(limit)s;

-- name: depart
insert into regions.departure (relocation, charter) values (%(relocation)s, %(charter)s)
on conflict (relocation) do nothing;

-- name: departure
select customers, keys from regions.departure where relocation = %(relocation)s;

-- name: held_after
select handle from regions.object where state = 'held' and handle > %(after)s order by handle limit %(limit)s;

-- name: forget_objects
update regions.object set state = 'moved', on_hold = false, customer = null, country = null, customer_key = null,
    sha256 = null, size = null, category = null, retention = null, salt = null, taken = null, sealed_sha256 = null,
    wrapped_by = null, custodian = null, wrapped = null, transfer_by = null, transfer = null, signatures = null
where handle = any(%(handles)b) and state = 'held';

-- What is left of objects that were removed before.
-- name: forget_removed
update regions.object set customer = null, country = null where state = 'removed' and num_nonnulls(customer, country) > 0;

-- name: forget_inventory
delete from regions.inventory_row where tree = 'held';

-- name: forget_shards
delete from regions.inventory_shard where tree = 'held';

-- name: has_customers
select to_regclass('customers.customer') is not null;

-- name: forget_usage
delete from customers.usage;

-- name: forget_customers
delete from customers.customer;

-- name: count_customers
select count(*) from customers.customer;

-- name: count_gone
update regions.departure set customers = customers + %(customers)s where relocation = %(relocation)s;

-- Written before they are destroyed: nothing that they wrapped is taken from here on.
-- name: give_up_keys
with given as (
    insert into regions.destroyed_key (id) select * from unnest(%(keys)s::text[]) on conflict do nothing
)
update regions.departure set keys = array(select distinct unnest(keys || %(keys)s::text[]) order by 1)
where relocation = %(relocation)s;

-- name: moved
select count(*), coalesce(sum(sealed_size), 0)::bigint from regions.object where state = 'moved';

-- name: held
select count(*), coalesce(sum(sealed_size), 0)::bigint from regions.object where state = 'held';
