//! Every default, in one place.
