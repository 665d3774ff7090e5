#![allow(clippy::single_range_in_vec_init, reason = "lists of ranges are what is meant")]

mod faults;
mod sharing;
mod source;
mod whole;
