-- Accounts move with their region: what was changed last counts, and what the site that is left has counted of a day.
alter table customers.customer add column changed bigint not null default 0;
alter table customers.usage add column carried bigint not null default 0 check (carried >= 0);
