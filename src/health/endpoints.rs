//! Which endpoints of a service are in the balance, as the probes see them; never takes the last one out.
