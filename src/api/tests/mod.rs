//! The real router over a real store, with engines that play scripts.

mod answers;
mod catalog;
mod disconnect;
mod guards;
mod logs;
mod responses;
mod routes;
mod support;
