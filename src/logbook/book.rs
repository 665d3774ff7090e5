use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use tokio::sync::broadcast;

use super::{Dropped, Queue, Reading};

/// Lines that a follower may be behind before it loses some.
const AHEAD: usize = 1024;

/// How long a reader waits for what was logged before it came.
const CATCH_UP: Duration = Duration::from_secs(1);

/// How often it is looked whether the file is still in its place, and how soon the next file is tried
/// for again after it could not be made.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

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
    /// When it was last seen that the file is the one at `path`.
    looked: Instant,
    /// When the next file could not be begun, if that is so.
    refused: Option<Instant>,
    /// Entries that could not be written since the last one that could.
    lost: u64,
    /// Whether the file ends with a part of an entry.
    torn: bool,
    misplaced: Trouble,
    overfull: Trouble,
}

/// Something that goes wrong with every line, and is said with the first of them.
struct Trouble {
    what: &'static str,
    said: bool,
}

impl Trouble {
    fn new(what: &'static str) -> Self {
        Self { what, said: false }
    }

    fn note(&mut self, done: io::Result<()>, path: &Path) {
        if let Err(error) = &done
            && !self.said
        {
            tracing::warn!(path = %path.display(), %error, "the log's file {}", self.what);
        }
        self.said = done.is_err();
    }
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
        make_dir(path)?;
        let file = append(path)?;
        let book = Book::new(path, limits, file)?;
        let live = broadcast::Sender::new(AHEAD);
        let inner = Arc::new(Inner { book: Mutex::new(book), live });
        let written = Arc::clone(&inner);
        let queue = Queue::start("log-file", dropped, move |entry| written.write(entry))?;
        Ok(Self { inner, queue })
    }

    /// What entries are put into. It never fails: a full disk must not end what is logged about. That
    /// it is full is said once, where the other lines go, and again when it is over.
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
    fn new(path: &Path, limits: Limits, file: File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        let (path, looked) = (path.to_owned(), Instant::now());
        let misplaced = Trouble::new("was moved or removed, and no other can be made in its place");
        let overfull = Trouble::new("is full and no other can be begun: it grows on");
        let (refused, lost, torn) = (None, 0, false);
        Ok(Self { path, limits, file, size, looked, refused, lost, torn, misplaced, overfull })
    }

    fn write(&mut self, entry: &[u8]) -> io::Result<()> {
        if self.looked.elapsed() >= LOOK_AGAIN {
            self.looked = Instant::now();
            let found = self.find_again();
            self.misplaced.note(found, &self.path);
        }
        let bytes = u64::try_from(entry.len()).unwrap_or(u64::MAX);
        let is_full = self.size > 0 && self.size.saturating_add(bytes) > self.limits.bytes;
        if is_full && self.refused.is_none_or(|at| at.elapsed() >= LOOK_AGAIN) {
            // Where that cannot be done, the file at hand grows on.
            let rotated = self.rotate();
            self.refused = rotated.is_err().then(Instant::now);
            self.overfull.note(rotated, &self.path);
        }
        match self.put(entry) {
            Ok(()) => {
                self.size = self.size.saturating_add(bytes);
                let lost = std::mem::take(&mut self.lost);
                if lost > 0 {
                    let path = self.path.display();
                    tracing::warn!(%path, lost, "the log's file is written to again");
                }
                Ok(())
            }
            Err(error) => {
                if self.lost == 0 {
                    let path = self.path.display();
                    tracing::warn!(
                        %path, %error,
                        "the log's file cannot be written to; until it can, lines are in the other \
                         places alone"
                    );
                }
                self.lost = self.lost.saturating_add(1);
                Err(error)
            }
        }
    }

    /// Writes all of an entry. After one of which only a part got onto the disk, the next begins a
    /// line of its own.
    fn put(&mut self, entry: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.write_all(b"\n")?;
            self.torn = false;
        }
        let mut rest = entry;
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = rest.get(written..).unwrap_or_default();
                    self.torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Goes on with the file at the path where somebody has moved, removed or replaced the one that is
    /// open: what is written there nobody would find.
    fn find_again(&mut self) -> io::Result<()> {
        let open = self.file.metadata()?;
        match std::fs::metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == (open.dev(), open.ino()) => return Ok(()),
            // To open a pipe would wait for its reader.
            Ok(found) if !found.is_file() => {
                return Err(io::Error::other("what is there now is no file"));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_dir(&self.path)?,
            Err(error) => return Err(error),
        }
        self.file = append(&self.path)?;
        self.size = self.file.metadata()?.len();
        self.torn = false;
        Ok(())
    }

    /// Begins the next file. It is made before anything is renamed: where none can be made, or no
    /// name can be given, every file stays.
    fn rotate(&mut self) -> io::Result<()> {
        if !self.file.metadata()?.is_file() {
            // A device or a pipe keeps its name.
            self.size = 0;
            return Ok(());
        }
        let next = self.named("next");
        match std::fs::remove_file(&next) {
            // Of a daemon that was ended between the two steps.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&next)?;
        if let Err(error) = self.shift(&next) {
            let _ = std::fs::remove_file(&next);
            return Err(error);
        }
        self.file = file;
        self.size = 0;
        self.torn = false;
        Ok(())
    }

    /// Renames every file to the next older one's name and `next` to the youngest's; the oldest goes.
    fn shift(&self, next: &Path) -> io::Result<()> {
        let oldest = self.limits.files.saturating_sub(1);
        // What an earlier attempt did not come to left a name free. The files before it move up to
        // it, and those behind it stay: no file is lost but the oldest of a whole row.
        let free = (1..oldest).find(|age| self.aged(*age).symlink_metadata().is_err());
        for age in (0..free.unwrap_or(oldest)).rev() {
            match std::fs::rename(self.aged(age), self.aged(age.saturating_add(1))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let begun = std::fs::rename(next, &self.path);
        if begun.is_err() && oldest > 0 {
            // The file at hand, which grows on, gets its name back.
            let _ = std::fs::rename(self.aged(1), &self.path);
        }
        begun
    }

    /// `modeld.log`, `modeld.log.1`, …
    fn aged(&self, age: usize) -> PathBuf {
        if age == 0 {
            return self.path.clone();
        }
        self.named(&age.to_string())
    }

    /// The name of the file with an ending behind it.
    fn named(&self, ending: &str) -> PathBuf {
        let mut name = OsString::from(self.path.as_os_str());
        name.push(".");
        name.push(ending);
        name.into()
    }
}

/// The directory of a file, for its owner alone where it has to be made.
fn make_dir(path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    dir.map_or(Ok(()), |dir| DirBuilder::new().recursive(true).mode(0o700).create(dir))
}

/// Opens it for writing at its end. A pipe that nobody reads is an error at once.
fn append(path: &Path) -> io::Result<File> {
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let mut open = OpenOptions::new();
    let file = open.append(true).create(true).mode(0o600).custom_flags(nonblocking).open(path)?;
    // Whoever reads a pipe slowly is waited for, by the thread that writes the log alone.
    let flags = rustix::fs::fcntl_getfl(&file)?;
    rustix::fs::fcntl_setfl(&file, flags.difference(OFlags::NONBLOCK))?;
    Ok(file)
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

    #[test]
    fn a_pipe_that_nobody_reads_is_an_error_at_once_and_a_read_one_takes_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
        rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, mode, 0).unwrap();
        let open = || Logbook::open(&path, Limits::default(), Dropped::default());
        assert!(open().is_err());
        let mut reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let log = open().unwrap();
        write(&log, "a line\n");
        let mut line = [0; 7];
        io::Read::read_exact(&mut reader, &mut line).unwrap();
        assert_eq!(&line, b"a line\n");
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

    /// A book without its queue.
    fn writing(path: &Path) -> Book {
        make_dir(path).unwrap();
        let limits = Limits { bytes: 40, files: 2 };
        Book::new(path, limits, append(path).unwrap()).unwrap()
    }

    /// The lines of `modeld` that `work` logs.
    fn said(work: impl FnOnce()) -> String {
        use tracing_subscriber::fmt;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&lines);
        let queue = Queue::start("test", Dropped::default(), move |line| {
            taken.lock().unwrap().extend_from_slice(line);
            Ok(())
        });
        let queue = queue.unwrap();
        let writer = queue.clone();
        let subscriber = fmt().with_writer(move || writer.writer()).with_ansi(false).finish();
        tracing::subscriber::with_default(subscriber, work);
        assert!(queue.flush(Duration::from_secs(20)));
        let text = lines.lock().unwrap().clone();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_full_disk_is_said_once_and_once_when_it_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("modeld.log");
        let mut book = writing(&path);
        let text = said(|| {
            book.write(b"before\n").unwrap();
            let good = std::mem::replace(&mut book.file, File::open(&path).unwrap());
            // Of this one a part was written.
            book.torn = true;
            for _ in 0..3 {
                book.write(b"lost\n").unwrap_err();
            }
            book.file = good;
            book.write(b"after\n").unwrap();
            book.write(b"on\n").unwrap();
        });
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "before\n\nafter\non\n");
        assert_eq!(text.matches("cannot be written to").count(), 1, "{text}");
        assert_eq!(text.matches("written to again").count(), 1, "{text}");
        assert!(text.contains("lost=3"), "{text}");
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn a_file_that_is_removed_or_replaced_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/modeld.log");
        let mut book = writing(&path);
        let mut later = |text: &str| {
            book.looked = Instant::now().checked_sub(LOOK_AGAIN).unwrap();
            book.write(text.as_bytes()).unwrap();
            book.size
        };
        later("one\n");
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
        later("two\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
        // As logrotate does it.
        std::fs::rename(&path, dir.path().join("old")).unwrap();
        std::fs::write(&path, "another's\n").unwrap();
        assert_eq!(later("three\n"), 16);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "another's\nthree\n");
        // Cut to nothing in its place, it is still the same file.
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        later("four\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "four\n");
    }

    #[test]
    fn where_the_next_file_cannot_be_begun_no_file_is_lost_and_it_is_tried_again_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("modeld.log");
        let at = |ending: &str| dir.path().join(format!("modeld.log{ending}"));
        let read = |ending: &str| std::fs::read_to_string(at(ending)).unwrap();
        let mut book = writing(&path);
        book.limits = Limits { bytes: 4, files: 3 };
        for line in ["one\n", "two\n", "three\n"] {
            book.write(line.as_bytes()).unwrap();
        }
        // What cannot be removed as a file is.
        std::fs::create_dir(at(".next")).unwrap();
        let text = said(|| {
            for line in ["four\n", "five\n", "six\n"] {
                book.write(line.as_bytes()).unwrap();
            }
            book.refused = Instant::now().checked_sub(LOOK_AGAIN);
            book.write(b"seven\n").unwrap();
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("no other can be begun"), "{text}");
        assert_eq!(read(""), "three\nfour\nfive\nsix\nseven\n");
        assert_eq!((read(".1"), read(".2")), ("two\n".to_owned(), "one\n".to_owned()));
        // At once it is not tried again, later it is.
        std::fs::remove_dir(at(".next")).unwrap();
        book.write(b"eight\n").unwrap();
        assert!(read("").ends_with("eight\n"));
        book.refused = Instant::now().checked_sub(LOOK_AGAIN);
        book.write(b"nine\n").unwrap();
        assert_eq!((read(""), read(".2")), ("nine\n".to_owned(), "two\n".to_owned()));
        assert!(read(".1").ends_with("eight\n"));
        assert!(!at(".next").exists());
    }

    #[test]
    fn a_name_that_is_free_is_filled_before_a_file_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("modeld.log");
        let at = |ending: &str| dir.path().join(format!("modeld.log{ending}"));
        let mut book = writing(&path);
        book.limits = Limits { bytes: 4, files: 4 };
        std::fs::write(at(".2"), "older\n").unwrap();
        std::fs::write(at(".3"), "oldest\n").unwrap();
        std::fs::write(at(".next"), "left behind\n").unwrap();
        book.write(b"one\n").unwrap();
        book.write(b"two\n").unwrap();
        for (ending, text) in
            [("", "two\n"), (".1", "one\n"), (".2", "older\n"), (".3", "oldest\n")]
        {
            assert_eq!(std::fs::read_to_string(at(ending)).unwrap(), text, "{ending}");
        }
    }

    #[test]
    fn where_no_file_can_be_made_the_old_one_goes_on_and_that_is_said_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("modeld.log");
        let mut book = writing(&path);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let text = said(|| {
            for _ in 0..3 {
                book.looked = Instant::now().checked_sub(LOOK_AGAIN).unwrap();
                book.write(b"0123456789\n").unwrap();
            }
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("the log's file was moved or removed"), "{text}");
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
