//! Bytes that do not fit in memory: runs and other files, in temporary files (src/include/storage/buffile.h), which
//! count towards temp_file_limit and lie in temp_tablespaces.

use core::ffi::c_int;

use pgrx::pg_sys;
use vector_index::work::runs::{Files, Runs};

use super::{ereport, memory, server};

/// Runs, each in a file of its own, or files that grow side by side. They are closed by [`Runs::clear`]; after an error
/// the server closes them itself, which is why dropping this does not.
pub struct Spill {
    /// where the server keeps what it knows of the files
    context: pg_sys::MemoryContext,
    files: Vec<File>,
    writing: bool,
}

struct File {
    /// null when removed
    file: *mut pg_sys::BufFile,
    rewound: bool,
}

impl Spill {
    /// No runs. The current memory context must outlive their use.
    pub fn new() -> Self {
        // SAFETY: reads a variable of this backend.
        Spill { context: unsafe { pg_sys::CurrentMemoryContext }, files: Vec::new(), writing: false }
    }

    fn add_file(&mut self) {
        if self.files.try_reserve(1).is_err() {
            ereport::unwind(memory::wanting());
        }
        // SAFETY: the context is alive (contract of `new`); what is made in it lives until the file is closed.
        let file = unsafe {
            let previous = pg_sys::MemoryContextSwitchTo(self.context);
            let file = server::BufFileCreateTemp(false);
            pg_sys::MemoryContextSwitchTo(previous);
            file
        };
        self.files.push(File { file, rewound: false });
    }
}

impl Runs for Spill {
    fn write(&mut self, bytes: &[u8]) {
        if !self.writing {
            self.add_file();
            self.writing = true;
        }
        if let Some(file) = self.files.last() {
            // SAFETY: the file is open and the bytes are readable. (Before PostgreSQL 16 the pointer is not const, and
            // the bytes are not written to either.)
            unsafe {
                server::BufFileWrite(file.file, bytes.as_ptr().cast_mut().cast(), bytes.len());
            }
        }
    }

    fn end_run(&mut self) {
        self.writing = false;
    }

    fn read(&mut self, run: usize, bytes: &mut [u8]) -> usize {
        let Some(file) = self.files.get_mut(run).filter(|file| !file.file.is_null()) else { return 0 };
        // SAFETY: the file is open; the bytes are writable.
        unsafe {
            if !file.rewound {
                server::BufFileSeek(file.file, 0, 0, libc::SEEK_SET as c_int);
                file.rewound = true;
            }
            server::BufFileRead(file.file, bytes.as_mut_ptr().cast(), bytes.len())
        }
    }

    fn clear(&mut self) {
        self.writing = false;
        for file in core::mem::take(&mut self.files).into_iter().filter(|file| !file.file.is_null()) {
            // SAFETY: open, and closed once.
            unsafe { server::BufFileClose(file.file) };
        }
    }
}

impl Files for Spill {
    fn create(&mut self) -> usize {
        self.add_file();
        self.files.len() - 1
    }

    fn append(&mut self, file: usize, bytes: &[u8]) {
        if let Some(file) = self.files.get(file).filter(|file| !file.file.is_null()) {
            // SAFETY: as in `write` of runs.
            unsafe {
                server::BufFileWrite(file.file, bytes.as_ptr().cast_mut().cast(), bytes.len());
            }
        }
    }

    fn rewind(&mut self, file: usize) {
        // the next read seeks
        if let Some(file) = self.files.get_mut(file) {
            file.rewound = false;
        }
    }

    fn read(&mut self, file: usize, bytes: &mut [u8]) -> usize {
        Runs::read(self, file, bytes)
    }

    fn remove(&mut self, file: usize) {
        if let Some(file) = self.files.get_mut(file).filter(|file| !file.file.is_null()) {
            let open = core::mem::replace(&mut file.file, core::ptr::null_mut());
            // SAFETY: open, and closed once.
            unsafe { server::BufFileClose(open) };
        }
    }
}
