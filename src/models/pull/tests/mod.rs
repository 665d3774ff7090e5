mod faults;
mod sharing;
mod source;
mod whole;
