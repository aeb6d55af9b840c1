//! The last samples of one service, as policies see them.
