//! From bytes of tokens to text that may be shown: whole characters only, and nothing that could
//! belong to a stop string.

mod answer;
mod stop;
mod utf8;

pub use answer::AnswerText;
pub use stop::StopMatcher;
pub use utf8::Utf8Decoder;
