//! Watches one service: tick, probe all endpoints, judge, track, tell.
