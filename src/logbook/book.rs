use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;

use super::{Dropped, Queue, Reading};

/// Lines that a follower may be behind before it loses some.
const AHEAD: usize = 1024;

/// How long a reader waits for what was logged before it came.
const CATCH_UP: Duration = Duration::from_secs(1);

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a file before the next one is begun; a single longer line is not cut.
    pub bytes: u64,
    /// Files, the current one included; at least 1.
    pub files: usize,
}

impl Default for Limits {
    /// 50 MiB in all.
    fn default() -> Self {
        Self { bytes: 10 << 20, files: 5 }
    }
}

/// The log of one daemon; cheap to clone.
#[derive(Clone)]
pub struct Logbook {
    inner: Arc<Inner>,
    /// A disk may be busy for seconds.
    queue: Queue,
}

struct Inner {
    book: Mutex<Book>,
    live: broadcast::Sender<Arc<str>>,
}

struct Book {
    path: PathBuf,
    limits: Limits,
    file: File,
    size: u64,
}

impl std::fmt::Debug for Logbook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logbook").finish_non_exhaustive()
    }
}

impl Logbook {
    /// Goes on with the file at `path`, which only its owner may read, as is true of a directory that
    /// has to be made. What the disk is too slow for is counted as `dropped`.
    ///
    /// # Errors
    /// Those of making the directory, the file and the thread that writes it.
    pub fn open(path: &Path, limits: Limits, dropped: Dropped) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        let file = append(path)?;
        let size = file.metadata()?.len();
        let book = Book { path: path.to_owned(), limits, file, size };
        let live = broadcast::Sender::new(AHEAD);
        let inner = Arc::new(Inner { book: Mutex::new(book), live });
        let written = Arc::clone(&inner);
        let queue = Queue::start("log-file", dropped, move |entry| written.write(entry))?;
        Ok(Self { inner, queue })
    }

    /// What entries are put into. It never fails: a full disk must not end what is logged about, and
    /// there is nowhere to say it.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// All that was written so far, and what will be if `follow`. Nothing is lost between the two.
    ///
    /// # Errors
    /// Those of opening a file that is there.
    pub fn read(&self, follow: bool) -> io::Result<Reading> {
        self.queue.flush(CATCH_UP);
        let book = self.inner.lock();
        let mut past = Vec::new();
        for age in (0..book.limits.files).rev() {
            match File::open(book.aged(age)) {
                Ok(file) => {
                    let bytes = file.metadata()?.len();
                    past.push((file, bytes));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let live = follow.then(|| self.inner.live.subscribe());
        Ok(Reading::new(past, live))
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, entry: &[u8]) -> io::Result<()> {
        let mut book = self.lock();
        let kept = book.write(entry);
        // A line that cannot be kept is shown to followers all the same.
        if self.live.receiver_count() > 0 {
            let _ = self.live.send(String::from_utf8_lossy(entry).into());
        }
        kept
    }
}

impl Book {
    fn write(&mut self, entry: &[u8]) -> io::Result<()> {
        let bytes = u64::try_from(entry.len()).unwrap_or(u64::MAX);
        if self.size > 0 && self.size.saturating_add(bytes) > self.limits.bytes {
            // Where that cannot be done, the file at hand grows on.
            let _ = self.rotate();
        }
        self.file.write_all(entry)?;
        self.size = self.size.saturating_add(bytes);
        Ok(())
    }

    /// Renames every file to the next older one's name, the oldest goes.
    fn rotate(&mut self) -> io::Result<()> {
        if !self.file.metadata()?.is_file() {
            // A device or a pipe keeps its name.
            self.size = 0;
            return Ok(());
        }
        let oldest = self.limits.files.saturating_sub(1);
        for age in (0..oldest).rev() {
            match std::fs::rename(self.aged(age), self.aged(age.saturating_add(1))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if oldest == 0 {
            std::fs::remove_file(&self.path)?;
        }
        self.file = append(&self.path)?;
        self.size = 0;
        Ok(())
    }

    /// `modeld.log`, `modeld.log.1`, …
    fn aged(&self, age: usize) -> PathBuf {
        if age == 0 {
            return self.path.clone();
        }
        let mut name = OsString::from(self.path.as_os_str());
        name.push(format!(".{age}"));
        name.into()
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::News;
    use super::*;

    fn book(limits: Limits) -> (tempfile::TempDir, PathBuf, Logbook) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/modeld/modeld.log");
        let log = Logbook::open(&path, limits, Dropped::default()).unwrap();
        (dir, path, log)
    }

    fn write(log: &Logbook, text: &str) {
        log.queue().push(text.as_bytes());
        assert!(log.queue().flush(Duration::from_secs(20)));
    }

    fn past(log: &Logbook) -> String {
        let mut text = String::new();
        log.read(false).unwrap().past(true, |line| {
            text += &line;
            true
        });
        text
    }

    #[test]
    fn only_its_owner_reads_it() {
        let (_dir, path, _log) = book(Limits::default());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
    }

    #[test]
    fn old_files_go_and_the_newest_lines_stay_in_order() {
        let (dir, path, log) = book(Limits { bytes: 20, files: 3 });
        for n in 0..40 {
            write(&log, &format!("line {n:02}\n"));
        }
        let files = std::fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(files, 3);
        assert_eq!(past(&log), "line 34\nline 35\nline 36\nline 37\nline 38\nline 39\n");
        drop((log, dir));
    }

    #[test]
    fn a_later_daemon_goes_on_with_the_file() {
        let (_dir, path, log) = book(Limits { bytes: 20, files: 2 });
        write(&log, "before\n");
        drop(log);
        let log = Logbook::open(&path, Limits { bytes: 20, files: 2 }, Dropped::default()).unwrap();
        write(&log, "after\n");
        assert_eq!(past(&log), "before\nafter\n");
    }

    #[test]
    fn a_line_longer_than_a_file_is_whole() {
        let (_dir, _path, log) = book(Limits { bytes: 5, files: 1 });
        write(&log, "short\n");
        write(&log, "much longer than that\n");
        assert_eq!(past(&log), "much longer than that\n");
    }

    #[tokio::test]
    async fn a_follower_sees_each_line_once_also_across_a_rotation() {
        let (_dir, _path, log) = book(Limits { bytes: 20, files: 2 });
        write(&log, "one\n");
        let mut reading = log.read(true).unwrap();
        for n in 0..9 {
            write(&log, &format!("more {n}\n"));
        }
        let mut text = String::new();
        reading.past(true, |line| {
            text += &line;
            true
        });
        assert_eq!(text, "one\n");
        let mut live = reading.live(true).unwrap();
        for n in 0..9 {
            let News::Lines(line) = live.next().await.unwrap() else { panic!("lost lines") };
            assert_eq!(&*line, format!("more {n}\n"));
        }
    }

    #[tokio::test]
    async fn a_follower_that_falls_behind_is_told_how_far() {
        let (_dir, _path, log) = book(Limits::default());
        let mut live = log.read(true).unwrap().live(true).unwrap();
        for n in 0..AHEAD + 7 {
            write(&log, &format!("{n}\n"));
        }
        assert!(matches!(live.next().await, Some(News::Lost(7))));
        assert!(matches!(live.next().await, Some(News::Lines(line)) if &*line == "7\n"));
    }

    #[test]
    fn engines_can_be_left_out() {
        let (_dir, _path, log) = book(Limits::default());
        let time = "2026-01-02T03:04:05.678901Z  INFO";
        write(&log, &format!("{time} modeld: a\n"));
        write(&log, &format!("{time} modeld::worker: b\nb goes on\n"));
        write(&log, &format!("{time} modeld: c\nc goes on\n"));
        let mut text = String::new();
        log.read(false).unwrap().past(false, |line| {
            text += &line;
            true
        });
        assert_eq!(text, format!("{time} modeld: a\n{time} modeld: c\nc goes on\n"));
    }
}
