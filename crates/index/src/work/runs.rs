//! Bytes that do not fit in memory: runs that are written one after another, and files that grow side by side. Both are
//! read from front to back.

/// Where runs are kept. Errors leave by unwinding or by a jump, as the store likes.
pub trait Runs {
    /// Adds bytes to the run that is being written.
    fn write(&mut self, bytes: &[u8]);
    /// Ends the run that is being written; without bytes it is none, and has no number.
    fn end_run(&mut self);
    /// Reads the next bytes of run `run` (counted from 0), as many as fit and are left. Returns how many.
    fn read(&mut self, run: usize, bytes: &mut [u8]) -> usize;
    /// Forgets all runs.
    fn clear(&mut self);
}

/// Where files are kept that grow at their ends, any number side by side. Errors leave by unwinding or by a jump, as
/// the store likes.
pub trait Files {
    /// Begins an empty file. Returns its number.
    fn create(&mut self) -> usize;
    /// Adds bytes to a file that is not being read.
    fn append(&mut self, file: usize, bytes: &[u8]);
    /// From now on a file is read, from its front; nothing is added any more.
    fn rewind(&mut self, file: usize);
    /// Reads the next bytes, as many as fit and are left. Returns how many.
    fn read(&mut self, file: usize, bytes: &mut [u8]) -> usize;
    /// Removes a file, which need not be there.
    fn remove(&mut self, file: usize);
}

/// Files in memory.
#[derive(Debug, Default)]
pub struct MemoryFiles {
    files: Vec<Option<(Vec<u8>, usize)>>,
}

impl MemoryFiles {
    /// Bytes of all files that were not removed.
    pub fn bytes(&self) -> usize {
        self.files.iter().flatten().map(|file| file.0.len()).sum()
    }

    /// Cuts `bytes` off the end of a file, as damage does.
    pub fn cut(&mut self, file: usize, bytes: usize) {
        if let Some(Some((content, _))) = self.files.get_mut(file) {
            content.truncate(content.len().saturating_sub(bytes));
        }
    }
}

impl Files for MemoryFiles {
    fn create(&mut self) -> usize {
        self.files.push(Some((Vec::new(), 0)));
        self.files.len() - 1
    }

    fn append(&mut self, file: usize, bytes: &[u8]) {
        if let Some(Some((content, _))) = self.files.get_mut(file) {
            content.extend_from_slice(bytes);
        }
    }

    fn rewind(&mut self, file: usize) {
        if let Some(Some((_, at))) = self.files.get_mut(file) {
            *at = 0;
        }
    }

    fn read(&mut self, file: usize, bytes: &mut [u8]) -> usize {
        let Some(Some((content, at))) = self.files.get_mut(file) else { return 0 };
        let count = bytes.len().min(content.len().saturating_sub(*at));
        bytes[..count].copy_from_slice(&content[*at..*at + count]);
        *at += count;
        count
    }

    fn remove(&mut self, file: usize) {
        if let Some(file) = self.files.get_mut(file) {
            *file = None;
        }
    }
}

#[cfg(any(test, feature = "testing"))]
#[allow(clippy::indexing_slicing)]
pub mod testing {
    //! Runs in memory, for tests.

    use super::Runs;

    /// Runs in memory: what is written, and how far it was read.
    #[derive(Debug, Default)]
    pub struct Kept(pub Vec<(Vec<u8>, usize)>, Vec<u8>);

    impl Runs for Kept {
        fn write(&mut self, bytes: &[u8]) {
            self.1.extend_from_slice(bytes);
        }

        fn end_run(&mut self) {
            let run = core::mem::take(&mut self.1);
            if !run.is_empty() {
                self.0.push((run, 0));
            }
        }

        fn read(&mut self, run: usize, bytes: &mut [u8]) -> usize {
            let (run, at) = &mut self.0[run];
            let count = bytes.len().min(run.len() - *at);
            bytes[..count].copy_from_slice(&run[*at..*at + count]);
            *at += count;
            count
        }

        fn clear(&mut self) {
            self.0.clear();
        }
    }
}
