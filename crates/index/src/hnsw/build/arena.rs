//! Memory that grows by chunks of equal size: nothing moves, so growth costs one chunk and never a copy, and threads
//! read without locks.

/// What an allocation costs beside its bytes: malloc's header and rounding.
const ALLOCATION: usize = 64;

/// Items of `width` values of `T` each, in chunks of a power of two items.
#[derive(Debug)]
pub(super) struct Arena<T> {
    chunks: Vec<Box<[T]>>,
    width: usize,
    /// items in a chunk, as a power of two
    shift: u32,
    len: usize,
}

impl<T: Default> Arena<T> {
    /// An empty arena of items of `width` values, in chunks of about `chunk` bytes.
    pub fn new(width: usize, chunk: usize) -> Self {
        let width = width.max(1);
        let items = (chunk / width.saturating_mul(size_of::<T>())).max(1);
        Arena { chunks: Vec::new(), width, shift: items.ilog2(), len: 0 }
    }

    fn chunk_values(&self) -> usize {
        self.width << self.shift
    }

    /// The number of items.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Values of an item.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Bytes that `items` more would allocate.
    pub fn growth(&self, items: usize) -> usize {
        let chunks = (self.len + items).div_ceil(1 << self.shift).saturating_sub(self.chunks.len());
        let mut bytes = chunks * (self.chunk_values() * size_of::<T>() + ALLOCATION);
        if self.chunks.len() + chunks > self.chunks.capacity() {
            // the table of chunks doubles; for a moment the old one stands beside the new
            bytes += (self.chunks.capacity() * 2).max(8) * size_of::<Box<[T]>>() + ALLOCATION;
        }
        bytes
    }

    /// Adds `items`, all default; returns false, and adds none, when there is no memory.
    pub fn extend(&mut self, items: usize) -> bool {
        while (self.chunks.len() << self.shift) < self.len + items {
            let mut chunk = Vec::new();
            let size = self.chunk_values();
            if chunk.try_reserve_exact(size).is_err() || self.chunks.try_reserve(1).is_err() {
                return false;
            }
            chunk.resize_with(size, T::default);
            self.chunks.push(chunk.into_boxed_slice());
        }
        self.len += items;
        true
    }
}

impl<T> Arena<T> {
    /// The items in pieces that do not overlap: the number of the first, and the values of all that follow.
    pub fn pieces_mut(&mut self) -> impl Iterator<Item = (usize, &mut [T])> {
        let (len, width, shift) = (self.len, self.width, self.shift);
        self.chunks.iter_mut().enumerate().map(move |(chunk, values)| {
            let first = chunk << shift;
            let items = (1 << shift).min(len.saturating_sub(first));
            (first, &mut values[..items * width])
        })
    }

    /// The item at `at`, which must be below the length.
    #[inline(always)]
    pub fn get(&self, at: usize) -> &[T] {
        let start = (at & ((1 << self.shift) - 1)) * self.width;
        &self.chunks[at >> self.shift][start..start + self.width]
    }

    /// The same, to change.
    #[inline(always)]
    pub fn get_mut(&mut self, at: usize) -> &mut [T] {
        let start = (at & ((1 << self.shift) - 1)) * self.width;
        &mut self.chunks[at >> self.shift][start..start + self.width]
    }

    /// The first value of the item at `at`.
    #[inline(always)]
    pub fn first(&self, at: usize) -> &T {
        &self.chunks[at >> self.shift][(at & ((1 << self.shift) - 1)) * self.width]
    }

    /// The same, to change.
    #[inline(always)]
    pub fn first_mut(&mut self, at: usize) -> &mut T {
        &mut self.chunks[at >> self.shift][(at & ((1 << self.shift) - 1)) * self.width]
    }
}

/// Where a value of a space with values of several sizes stands.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    chunk: u32,
    /// in words
    start: u32,
    /// in bytes
    len: u32,
}

/// The values, each 8-byte aligned. They never change.
#[derive(Debug)]
pub(super) struct Values {
    /// values of one size
    fixed: Arena<u64>,
    /// that size in bytes, 0 before the first
    size: usize,
    /// values of several sizes: where they stand in `chunks`
    spans: Arena<Span>,
    chunks: Vec<Box<[u64]>>,
    /// words in use in the last chunk
    used: usize,
    /// bytes of a chunk
    chunk: usize,
    varying: bool,
}

impl Values {
    /// No values; `varying` when their sizes may differ.
    pub fn new(varying: bool, chunk: usize) -> Self {
        Values {
            fixed: Arena::new(1, chunk),
            size: 0,
            spans: Arena::new(1, chunk),
            chunks: Vec::new(),
            used: 0,
            chunk,
            varying,
        }
    }

    /// Bytes of a new chunk that holds at least `size` bytes.
    fn chunk_for(&self, size: usize) -> usize {
        self.chunk.max(size).next_multiple_of(8)
    }

    fn has_room(&self, size: usize) -> bool {
        self.chunks.last().is_some_and(|c| c.len() - self.used >= size.div_ceil(8))
    }

    /// Bytes that one more value of `size` bytes would allocate.
    pub fn growth(&self, size: usize) -> usize {
        if !self.varying {
            return match self.size {
                0 => Arena::<u64>::new(size.div_ceil(8), self.chunk).growth(1),
                _ => self.fixed.growth(1),
            };
        }
        let mut bytes = self.spans.growth(1);
        if !self.has_room(size) {
            bytes += self.chunk_for(size) + ALLOCATION;
            if self.chunks.len() == self.chunks.capacity() {
                bytes += (self.chunks.capacity() * 2).max(8) * size_of::<Box<[u64]>>() + ALLOCATION;
            }
        }
        bytes
    }

    /// Whether a value of `size` bytes is one of this arena's.
    pub fn fits(&self, size: usize) -> bool {
        self.varying || self.size == 0 || self.size == size
    }

    /// Adds a value that [fits](Self::fits); returns false, and adds nothing, when there is no memory.
    pub fn push(&mut self, value: &[u8]) -> bool {
        let words = value.len().div_ceil(8);
        if !self.varying {
            if self.size == 0 {
                self.size = value.len();
                self.fixed = Arena::new(words, self.chunk);
            }
            let at = self.fixed.len();
            if !self.fixed.extend(1) {
                return false;
            }
            copy(self.fixed.get_mut(at), value);
            return true;
        }
        if !self.has_room(value.len()) {
            let mut chunk = Vec::new();
            let size = self.chunk_for(value.len()) / 8;
            if chunk.try_reserve_exact(size).is_err() || self.chunks.try_reserve(1).is_err() {
                return false;
            }
            chunk.resize(size, 0);
            self.chunks.push(chunk.into_boxed_slice());
            self.used = 0;
        }
        let at = self.spans.len();
        if !self.spans.extend(1) {
            return false;
        }
        let chunk = self.chunks.len() - 1;
        *self.spans.first_mut(at) =
            Span { chunk: chunk as u32, start: self.used as u32, len: value.len() as u32 };
        copy(&mut self.chunks[chunk][self.used..self.used + words], value);
        self.used += words;
        true
    }

    /// The bytes of the value at `at`, which must be below the number of values.
    #[inline(always)]
    pub fn get(&self, at: usize) -> &[u8] {
        if self.varying {
            let span = *self.spans.first(at);
            let words = &self.chunks[span.chunk as usize][span.start as usize..];
            &zerocopy::IntoBytes::as_bytes(words)[..span.len as usize]
        } else {
            &zerocopy::IntoBytes::as_bytes(self.fixed.get(at))[..self.size]
        }
    }
}

fn copy(words: &mut [u64], value: &[u8]) {
    let bytes: &mut [u8] = zerocopy::IntoBytes::as_mut_bytes(words);
    if let Some(target) = bytes.get_mut(..value.len()) {
        target.copy_from_slice(value);
    }
}
