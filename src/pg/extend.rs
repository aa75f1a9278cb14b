//! New blocks, many at a time: a build knows how many it will write. Adding one block alone writes it out as zeros
//! (mdzeroextend, src/backend/storage/smgr/md.c); of more than eight the server reserves the space instead. From
//! PostgreSQL 16 on.

#[cfg(not(any(feature = "pg13", feature = "pg14", feature = "pg15")))]
mod ahead {
    use pgrx::pg_sys::{self, Buffer, ForkNumber};

    use crate::pg::relation::Rel;
    use crate::pg::server;

    /// Blocks added at once. They are pinned until they are used, which the server bounds further.
    const BATCH: u32 = 64;

    /// Blocks added and not used yet, and how many are still to be added.
    pub struct Ahead {
        wanted: u32,
        added: [Buffer; BATCH as usize],
        used: u32,
        count: u32,
    }

    impl Default for Ahead {
        fn default() -> Self {
            Ahead { wanted: 0, added: [0; BATCH as usize], used: 0, count: 0 }
        }
    }

    impl Ahead {
        /// Announces so many blocks. They must all be used.
        pub fn want(&mut self, blocks: u32) {
            self.wanted = self.wanted.saturating_add(blocks);
        }

        /// A new block, pinned, none when none was announced.
        pub fn take(&mut self, relation: Rel<'_>, fork: ForkNumber::Type) -> Option<Buffer> {
            if self.used == self.count {
                if self.wanted == 0 {
                    return None;
                }
                (self.used, self.count) = (0, 0);
                let bmr = pg_sys::BufferManagerRelation { rel: relation.as_ptr(), ..Default::default() };
                // SAFETY: the relation is open; there is room for as many buffers as are asked for. Their pins go with
                // the transaction should it fail.
                unsafe {
                    server::ExtendBufferedRelBy(
                        bmr,
                        fork,
                        core::ptr::null_mut(),
                        0,
                        self.wanted.min(BATCH),
                        self.added.as_mut_ptr(),
                        &raw mut self.count,
                    )
                };
                self.wanted = self.wanted.saturating_sub(self.count);
            }
            let buffer = self.added.get(self.used as usize).copied();
            self.used += 1;
            buffer
        }
    }
}

#[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
mod ahead {
    use pgrx::pg_sys::{Buffer, ForkNumber};

    use crate::pg::relation::Rel;

    /// Before PostgreSQL 16 blocks are added one by one.
    #[derive(Default)]
    pub struct Ahead(());

    impl Ahead {
        /// Announces so many blocks.
        pub fn want(&mut self, _: u32) {}

        /// None.
        pub fn take(&mut self, _: Rel<'_>, _: ForkNumber::Type) -> Option<Buffer> {
            None
        }
    }
}

pub use ahead::Ahead;
