//! Bytes that do not fit in memory, in runs that are written once and read from front to back.

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

#[cfg(test)]
pub(crate) mod testing {
    use super::Runs;

    /// Runs in memory: what is written, and how far it was read.
    #[derive(Default)]
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
