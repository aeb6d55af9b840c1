//! Outgoing calls: deadlines, no redirects to other hosts, bodies with a limit, one TLS provider.
