//! The bytes of one file, and what a power failure can make of them.
//!
//! A reader sees `bytes`. Before a write changes a sector, what it held is saved; a sync forgets
//! what was saved. So a sector can come back as anything it was since the last sync: each saved
//! image, oldest first, and last what the file holds now.
//!
//! ```text
//!   synced   write A   write B            saved      in the file
//!     old ───── A ─────── B               old, A     B
//! ```
//!
//! Writes and syncs cost what they touch, never the length of the file.

use std::collections::BTreeSet;
use std::ops::Range;

use super::faults::Tally;
use crate::sim::dice::Dice;

/// What a disk writes as a whole or not at all.
pub(super) const SECTOR: usize = 512;

/// Room for images that is kept from one sync to the next.
const KEEP_BYTES: usize = 1 << 20;

#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    /// What a reader sees.
    bytes: Vec<u8>,
    /// No power failure leaves less; never more than there is.
    synced_len: usize,
    /// Where the farthest write since the last sync ends.
    reach: usize,
    before: Journal,
}

impl Contents {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// How many of `len` bytes at `offset` can be written if the file may grow by `room`: all of
    /// them, or those up to a sector's end that are within.
    pub(super) fn fitting(&self, offset: usize, len: usize, room: usize) -> usize {
        let most = self.bytes.len().saturating_add(room);
        if offset.saturating_add(len) <= most {
            return len;
        }
        let whole = most - most % SECTOR;
        whole.max(self.bytes.len()).saturating_sub(offset).min(len)
    }

    /// Writes, growing the file as needed; nothing is durable yet.
    pub(super) fn write(&mut self, offset: usize, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let end = offset.saturating_add(data.len());
        self.before.save(offset / SECTOR..end.div_ceil(SECTOR), &self.bytes);
        if offset > self.bytes.len() {
            self.bytes.resize(offset, 0);
        }
        let (over, beyond) = data.split_at((self.bytes.len() - offset).min(data.len()));
        if let Some(place) = self.bytes.get_mut(offset..offset + over.len()) {
            place.copy_from_slice(over);
        }
        self.bytes.extend_from_slice(beyond);
        self.reach = self.reach.max(end);
    }

    /// Everything written since the last sync is durable. Sectors are written as a whole, so the
    /// file does not end within the last of them.
    pub(super) fn sync(&mut self) {
        let reach = self.reach.next_multiple_of(SECTOR).min(self.bytes.len());
        self.synced_len = self.synced_len.max(reach);
        self.reach = 0;
        self.before.settle();
    }

    /// What was written since the last sync is in doubt, and stays so: no later sync covers it,
    /// unless it is written again before.
    pub(super) fn sync_failed(&mut self) {
        self.reach = 0;
        self.before.doubtful = self.before.saves.len();
    }

    /// Of what is not durable, the power's failure leaves what is drawn.
    pub(super) fn lose_some(&mut self, dice: &mut Dice, tally: &mut Tally) {
        let (old, new) = (self.synced_len, self.bytes.len());
        if old == new && self.before.saves.is_empty() {
            return;
        }
        let kept = match dice.below(3) {
            0 => old,
            1 => new,
            _ => (old + dice.place(new - old + 1)).next_multiple_of(SECTOR).min(new),
        };
        self.bytes.resize(kept.next_multiple_of(SECTOR), 0);
        let before = std::mem::take(&mut self.before);
        for images in before.by_sector().chunk_by(|a, b| a.sector == b.sector) {
            let drawn = dice.place(images.len() + 1);
            let back =
                images.get(drawn).is_some_and(|image| before.put_back(image, &mut self.bytes));
            tally.lost_sectors += u64::from(back && drawn == 0);
            tally.older_sectors += u64::from(back && drawn > 0);
        }
        tally.shortened_files += u64::from(kept < new);
        self.bytes.truncate(kept);
        self.settle_at(kept);
    }

    /// Everything that is not durable is gone.
    pub(super) fn lose_all(&mut self) {
        self.bytes.resize(self.synced_len.next_multiple_of(SECTOR), 0);
        let before = std::mem::take(&mut self.before);
        for image in before.images().rev() {
            before.put_back(&image, &mut self.bytes);
        }
        self.bytes.truncate(self.synced_len);
        self.settle_at(self.synced_len);
    }

    /// Changes the bytes behind everybody's back, durably.
    #[cfg(test)]
    pub(super) fn edit<T>(&mut self, edit: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let result = edit(&mut self.bytes);
        self.before = Journal::default();
        self.settle_at(self.bytes.len());
        result
    }

    /// Flips one bit of the durable bytes in the range, as drawn, and says at which byte; `None`
    /// if there are none.
    pub(super) fn rot(&mut self, range: Range<usize>, dice: &mut Dice) -> Option<usize> {
        let range = range.start..range.end.min(self.synced_len);
        let dirty: BTreeSet<_> = self.before.images().map(|image| image.sector).collect();
        let sectors: Vec<_> = (range.start / SECTOR..range.end.div_ceil(SECTOR))
            .filter(|sector| !dirty.contains(sector))
            .map(|sector| range.start.max(sector * SECTOR)..range.end.min(sector * SECTOR + SECTOR))
            .filter(|within| !within.is_empty())
            .collect();
        let within = dice.pick(&sectors)?;
        let at = within.start + dice.place(within.len());
        let bit = dice.below(8);
        *self.bytes.get_mut(at)? ^= 1 << bit;
        Some(at)
    }

    /// Bytes that are kept for the next power failure.
    #[cfg(test)]
    pub(super) fn saved(&self) -> usize {
        self.before.images.len()
    }

    fn settle_at(&mut self, len: usize) {
        self.synced_len = len;
        self.reach = 0;
    }
}

/// What sectors held before they were written.
#[derive(Clone, Debug, Default)]
struct Journal {
    /// In the order of the writes.
    saves: Vec<Save>,
    /// Whole sectors, one behind the other: one buffer, so that a write allocates nothing.
    images: Vec<u8>,
    /// So many saves are older than a sync that failed.
    doubtful: usize,
}

/// Neighbouring sectors before one write.
#[derive(Clone, Copy, Debug)]
struct Save {
    sector: usize,
    count: usize,
    /// Of so many the image was saved; the others lay beyond the file's end, so they were blank.
    held: usize,
    /// Where in the images the first one is.
    at: usize,
}

/// One sector before one write.
struct Image {
    sector: usize,
    /// Where in the images it is; `None` if the sector was blank.
    at: Option<usize>,
}

impl Journal {
    fn save(&mut self, sectors: Range<usize>, bytes: &[u8]) {
        let (first, at) = (sectors.start, self.images.len());
        let end = (sectors.end * SECTOR).min(bytes.len());
        let held = bytes.get(first * SECTOR..end).unwrap_or_default();
        self.images.extend_from_slice(held);
        self.images.resize(self.images.len().next_multiple_of(SECTOR), 0);
        let held = held.len().div_ceil(SECTOR);
        self.saves.push(Save { sector: first, count: sectors.len(), held, at });
    }

    fn settle(&mut self) {
        if self.doubtful > 0 {
            self.settle_around_doubt();
            return;
        }
        self.saves.clear();
        self.images.clear();
        if self.images.capacity() > KEEP_BYTES {
            self.images.shrink_to(KEEP_BYTES);
        }
    }

    /// What was written again since the sync that failed is durable now; the rest of what it was
    /// about is not, however often the file is synced.
    fn settle_around_doubt(&mut self) {
        let (doubtful, synced) = self.saves.split_at(self.doubtful.min(self.saves.len()));
        let rewritten: BTreeSet<_> =
            synced.iter().flat_map(Save::images).map(|i| i.sector).collect();
        let mut kept = Self::default();
        for image in doubtful.iter().flat_map(Save::images) {
            if !rewritten.contains(&image.sector) {
                let held = image.at.map_or(0, |_| 1);
                let at = kept.images.len();
                kept.images.extend_from_slice(self.image(&image).unwrap_or_default());
                kept.saves.push(Save { sector: image.sector, count: 1, held, at });
            }
        }
        kept.doubtful = kept.saves.len();
        *self = kept;
    }

    /// Every image, in the order of the writes.
    fn images(&self) -> impl DoubleEndedIterator<Item = Image> {
        self.saves.iter().flat_map(Save::images)
    }

    /// Every image, by sector and then in the order of the writes.
    fn by_sector(&self) -> Vec<Image> {
        let mut images: Vec<_> = self.images().collect();
        images.sort_by_key(|image| image.sector);
        images
    }

    /// `None` if the sector was blank.
    fn image(&self, image: &Image) -> Option<&[u8]> {
        image.at.and_then(|at| self.images.get(at..at + SECTOR))
    }

    /// Into bytes that end with a sector; false if the sector lies beyond them.
    fn put_back(&self, image: &Image, bytes: &mut [u8]) -> bool {
        let start = image.sector * SECTOR;
        let Some(place) = bytes.get_mut(start..start + SECTOR) else { return false };
        match self.image(image) {
            Some(held) => place.copy_from_slice(held),
            None => place.fill(0),
        }
        true
    }
}

impl Save {
    fn images(&self) -> impl DoubleEndedIterator<Item = Image> + use<> {
        let Self { sector, count, held, at } = *self;
        (0..count).map(move |nth| Image {
            sector: sector + nth,
            at: (nth < held).then_some(at + nth * SECTOR),
        })
    }
}
