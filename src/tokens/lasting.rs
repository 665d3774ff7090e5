use jiff::Timestamp;

use super::Token;

/// How long somebody can be let in, with whatever token lasts longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasting {
    /// Nobody can be: no token is valid.
    Over,
    /// Until the last of them expires.
    Until(Timestamp),
    /// One never expires.
    Forever,
}

impl Lasting {
    /// That of all these tokens together.
    pub fn of(tokens: &[Token], now: Timestamp) -> Self {
        let valid = tokens.iter().filter(|token| !token.has_expired(now));
        valid.fold(Self::Over, |longest, token| match (longest, token.expires) {
            (Self::Forever, _) | (_, None) => Self::Forever,
            (Self::Over, Some(end)) => Self::Until(end),
            (Self::Until(other), Some(end)) => Self::Until(end.max(other)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::Scope;

    #[test]
    fn the_one_that_lasts_longest_counts() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let lasting = |ends: &[Option<i64>]| {
            let made = |end: &Option<i64>| {
                Token::generate(None, Scope::Inference, at(0), end.map(at)).unwrap().0
            };
            Lasting::of(&ends.iter().map(made).collect::<Vec<_>>(), at(10))
        };
        assert_eq!(lasting(&[]), Lasting::Over);
        assert_eq!(lasting(&[Some(9), Some(10)]), Lasting::Over);
        assert_eq!(lasting(&[Some(9), Some(30), Some(20)]), Lasting::Until(at(30)));
        assert_eq!(lasting(&[Some(30), None, Some(9)]), Lasting::Forever);
    }
}
