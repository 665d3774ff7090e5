use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::is_of_engine;

/// The longest piece of a line that is read at once, in bytes.
const MAX_PIECE: u64 = 64 << 10;

/// The log as it was at one moment, and perhaps what came after it.
#[derive(Debug)]
pub struct Reading {
    past: Vec<(File, u64)>,
    live: Option<broadcast::Receiver<Arc<str>>>,
}

/// What comes after that moment.
#[derive(Debug)]
pub struct Live {
    lines: broadcast::Receiver<Arc<str>>,
    engines: bool,
}

/// News for a follower.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// An entry, with its newline.
    Lines(Arc<str>),
    /// So many entries came faster than they were read.
    Lost(u64),
}

impl Reading {
    pub(super) fn new(past: Vec<(File, u64)>, live: Option<broadcast::Receiver<Arc<str>>>) -> Self {
        Self { past, live }
    }

    /// Hands out line by line what was there, oldest first, until `take` answers false; those of
    /// workers only if `engines`. Blocks. A file that cannot be read is left out.
    pub fn past(&mut self, engines: bool, mut take: impl FnMut(String) -> bool) {
        let mut of_engine = false;
        for (file, bytes) in std::mem::take(&mut self.past) {
            let mut lines = BufReader::new(file.take(bytes));
            let mut line = Vec::new();
            while let Ok(1..) = (&mut lines).take(MAX_PIECE).read_until(b'\n', &mut line) {
                let text = String::from_utf8_lossy(&line).into_owned();
                line.clear();
                of_engine = is_of_engine(&text).unwrap_or(of_engine);
                if (engines || !of_engine) && !take(text) {
                    return;
                }
            }
        }
    }

    /// What comes from now on; `None`: it was not asked for.
    pub fn live(self, engines: bool) -> Option<Live> {
        self.live.map(|lines| Live { lines, engines })
    }
}

impl Live {
    /// The next news; `None`: nobody writes any more. May be dropped and called again.
    pub async fn next(&mut self) -> Option<News> {
        loop {
            match self.lines.recv().await {
                // An entry is sent in one piece, so its first line says whose it is.
                Ok(entry) if !self.engines && is_of_engine(&entry) == Some(true) => {}
                Ok(entry) => return Some(News::Lines(entry)),
                Err(RecvError::Lagged(count)) => return Some(News::Lost(count)),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
