//! What certificates say of themselves (RFC 5280). Whether they are to be believed is for whoever
//! asks.

mod validity;

pub use validity::Validity;
