use std::path::PathBuf;

/// Why tokens cannot be read or changed. No text of it holds a token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The system refused something.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was tried, with the path.
        doing: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not what only its owner can have written.
    #[error("{} {problem}", path.display())]
    Unsafe {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what helps.
        problem: String,
    },
    /// The file does not hold tokens.
    #[error("{} cannot be understood: {problem}; restore it, or remove it and make new tokens", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// Where it goes wrong.
        problem: String,
    },
    /// A name that no token may have.
    #[error(
        "{name:?} cannot name a token: write 1 to 64 letters, digits, dots, hyphens or underscores"
    )]
    InvalidName {
        /// What was given.
        name: String,
    },
    /// Another token has this name.
    #[error(
        "there is a token called {name} already; choose another name, or revoke that one first"
    )]
    NameTaken {
        /// The name.
        name: String,
    },
    /// Nothing to revoke.
    #[error("there is no token called {name}; `modeld token list` shows them")]
    NoSuch {
        /// What was looked for.
        name: String,
    },
    /// The file has as many as it may have.
    #[error("there are {most} tokens already; revoke some first")]
    TooMany {
        /// How many there may be.
        most: usize,
    },
    /// A life that ends outside of the calendar.
    #[error(
        "the token would expire too far in the future; leave --expires away for one that never does"
    )]
    TooFar,
}

impl TokenError {
    pub(super) fn io(doing: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::Io { doing: doing.into(), source: source.into() }
    }
}
