//! The functions of the server that this extension calls, each under [`guard::call`]: an error unwinds. (pgrx's own
//! wrappers keep a part of an error only, in UTF-8.)
//!
//! Every declaration is compared with pgrx's, made from the headers of the server that is built for.

// the names and arguments are the server's
#![allow(non_snake_case, clippy::too_many_arguments)]

use core::ffi::{c_char, c_int, c_long, c_void};

use pgrx::pg_sys::{
    self, ArrayType, BufFile, Buffer, BufferAccessStrategy, BufferAccessStrategyType, Datum, DestReceiver,
    ForkNumber, FunctionCallInfo, GenericCosts, GucAction, GucContext, GucEnumAssignHook, GucEnumCheckHook,
    GucIntAssignHook, GucIntCheckHook, GucRealAssignHook, GucRealCheckHook, GucShowHook, GucSource,
    HeapTuple, IndexInfo, IndexPath, IndexScanDesc, JoinType, List, MemoryContext, MemoryContextCallback,
    Oid, PGFunction, ParamListInfo, PlannedStmt, PlannerInfo, ProcessUtilityContext, QueryCompletion,
    QueryEnvironment, ReadBufferMode, Relation, SPIPlanPtr, SPITupleTable, ScanKeyData, Snapshot,
    SpecialJoinInfo, SubXactCallback, SysScanDesc, TransactionId, TupleDesc, Tuplestorestate, TypeFuncClass,
    XactCallback, config_enum_entry, relopt_enum_elt_def, relopt_kind, relopt_parse_elt, text, varlena,
};

use super::guard;

macro_rules! server {
    ($(
        $(#[$attribute:meta])*
        fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)?;
    )*) => { $(
        $(#[$attribute])*
        const _: unsafe fn($($type),*) $(-> $result)? = pg_sys::$name;

        /// The server's function of this name; an error unwinds.
        ///
        /// # Safety
        /// The function's own contract.
        $(#[$attribute])*
        #[inline]
        pub unsafe fn $name($($argument: $type),*) $(-> $result)? {
            unsafe extern "C-unwind" {
                fn $name($($argument: $type),*) $(-> $result)?;
            }
            // SAFETY: the caller keeps the function's contract; the arguments are plain values.
            unsafe { guard::call(|| $name($($argument),*)) }
        }
    )* };
}

// src/backend/utils/mmgr, src/backend/utils/fmgr
server! {
    fn palloc0(size: usize) -> *mut c_void;
    fn pfree(pointer: *mut c_void);
    #[cfg(not(any(feature = "pg17", feature = "pg18")))]
    fn heap_form_tuple(columns: TupleDesc, values: *mut Datum, nulls: *mut bool) -> HeapTuple;
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    fn heap_form_tuple(columns: TupleDesc, values: *const Datum, nulls: *const bool) -> HeapTuple;
    #[cfg(not(any(feature = "pg17", feature = "pg18")))]
    fn index_form_tuple(columns: TupleDesc, values: *mut Datum, nulls: *mut bool) -> pg_sys::IndexTuple;
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    fn index_form_tuple(columns: TupleDesc, values: *const Datum, nulls: *const bool) -> pg_sys::IndexTuple;
    fn CreateTemplateTupleDesc(count: c_int) -> TupleDesc;
    fn FreeTupleDesc(columns: TupleDesc);
    fn TupleDescCopyEntry(to: TupleDesc, to_number: i16, from: TupleDesc, from_number: i16);
    fn pnstrdup(text: *const c_char, length: usize) -> *mut c_char;
    fn AllocSetContextCreateInternal(
        parent: MemoryContext,
        name: *const c_char,
        minimum: usize,
        first: usize,
        largest: usize,
    ) -> MemoryContext;
    fn MemoryContextReset(context: MemoryContext);
    fn MemoryContextDelete(context: MemoryContext);
    fn RegisterXactCallback(callback: XactCallback, argument: *mut c_void);
    fn RegisterSubXactCallback(callback: SubXactCallback, argument: *mut c_void);
    fn MemoryContextRegisterResetCallback(context: MemoryContext, callback: *mut MemoryContextCallback);
    fn pg_detoast_datum(datum: *mut varlena) -> *mut varlena;
    fn pg_detoast_datum_copy(datum: *mut varlena) -> *mut varlena;
    fn DirectFunctionCall1Coll(function: PGFunction, collation: Oid, argument: Datum) -> Datum;
    fn FunctionCall2Coll(function: *mut pg_sys::FmgrInfo, collation: Oid, first: Datum, second: Datum) -> Datum;
    fn pg_mbcliplen(text: *const c_char, length: c_int, limit: c_int) -> c_int;
    fn get_call_result_type(
        fcinfo: FunctionCallInfo,
        result: *mut Oid,
        descriptor: *mut TupleDesc,
    ) -> TypeFuncClass::Type;
}

// src/backend/tcop, src/backend/utils/misc, src/backend/utils/init, src/backend/utils/time, src/backend/access/transam
server! {
    fn ProcessInterrupts();
    fn DefineCustomIntVariable(
        name: *const c_char,
        short: *const c_char,
        long: *const c_char,
        value: *mut c_int,
        default: c_int,
        smallest: c_int,
        largest: c_int,
        context: GucContext::Type,
        flags: c_int,
        check: GucIntCheckHook,
        assign: GucIntAssignHook,
        show: GucShowHook,
    );
    fn DefineCustomRealVariable(
        name: *const c_char,
        short: *const c_char,
        long: *const c_char,
        value: *mut f64,
        default: f64,
        smallest: f64,
        largest: f64,
        context: GucContext::Type,
        flags: c_int,
        check: GucRealCheckHook,
        assign: GucRealAssignHook,
        show: GucShowHook,
    );
    fn DefineCustomEnumVariable(
        name: *const c_char,
        short: *const c_char,
        long: *const c_char,
        value: *mut c_int,
        default: c_int,
        options: *const config_enum_entry,
        context: GucContext::Type,
        flags: c_int,
        check: GucEnumCheckHook,
        assign: GucEnumAssignHook,
        show: GucShowHook,
    );
    #[cfg(any(feature = "pg13", feature = "pg14"))]
    fn EmitWarningsOnPlaceholders(class: *const c_char);
    #[cfg(not(any(feature = "pg13", feature = "pg14")))]
    fn MarkGUCPrefixReserved(class: *const c_char);
    #[cfg(not(any(feature = "pg13", feature = "pg14", feature = "pg15")))]
    fn guc_malloc(level: c_int, size: usize) -> *mut c_void;
    fn NewGUCNestLevel() -> c_int;
    fn AtEOXact_GUC(commit: bool, level: c_int);
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    fn RestrictSearchPath();
    fn set_config_option(
        name: *const c_char,
        value: *const c_char,
        context: GucContext::Type,
        source: GucSource::Type,
        action: GucAction::Type,
        change: bool,
        level: c_int,
        reload: bool,
    ) -> c_int;
    fn GetUserId() -> Oid;
    fn has_privs_of_role(member: Oid, role: Oid) -> bool;
    fn GetUserIdAndSecContext(user: *mut Oid, context: *mut c_int);
    fn SetUserIdAndSecContext(user: Oid, context: c_int);
    fn RecoveryInProgress() -> bool;
    fn GetTransactionSnapshot() -> Snapshot;
    fn GetLatestSnapshot() -> Snapshot;
    fn RegisterSnapshot(snapshot: Snapshot) -> Snapshot;
    fn UnregisterSnapshot(snapshot: Snapshot);
    fn ActiveSnapshotSet() -> bool;
    fn PushActiveSnapshot(snapshot: Snapshot);
    fn PopActiveSnapshot();
    #[cfg(not(feature = "pg13"))]
    fn ForgetPortalSnapshots();
    fn pg_parse_query(sql: *const c_char) -> *mut List;
    #[cfg(feature = "pg13")]
    fn ProcessUtility(
        statement: *mut PlannedStmt,
        sql: *const c_char,
        context: ProcessUtilityContext::Type,
        parameters: ParamListInfo,
        environment: *mut QueryEnvironment,
        receiver: *mut DestReceiver,
        completion: *mut QueryCompletion,
    );
    #[cfg(not(feature = "pg13"))]
    fn ProcessUtility(
        statement: *mut PlannedStmt,
        sql: *const c_char,
        keep_tree: bool,
        context: ProcessUtilityContext::Type,
        parameters: ParamListInfo,
        environment: *mut QueryEnvironment,
        receiver: *mut DestReceiver,
        completion: *mut QueryCompletion,
    );
    fn TransactionIdPrecedes(one: TransactionId, other: TransactionId) -> bool;
}

// src/backend/access, src/backend/catalog, src/backend/commands, src/backend/utils/activity
server! {
    fn table_open(relation: Oid, mode: c_int) -> Relation;
    fn table_close(relation: Relation, mode: c_int);
    fn index_open(relation: Oid, mode: c_int) -> Relation;
    fn index_close(relation: Relation, mode: c_int);
    fn index_getprocid(index: Relation, attribute: i16, number: u16) -> Oid;
    fn index_getprocinfo(index: Relation, attribute: i16, number: u16) -> *mut pg_sys::FmgrInfo;
    fn IndexGetRelation(index: Oid, missing_ok: bool) -> Oid;
    fn BuildIndexInfo(index: Relation) -> *mut IndexInfo;
    fn format_type_be(kind: Oid) -> *mut c_char;
    fn get_am_name(method: Oid) -> *mut c_char;
    fn get_rel_relkind(relation: Oid) -> c_char;
    fn RelationGetIndexScan(index: Relation, keys: c_int, order_bys: c_int) -> IndexScanDesc;
    fn add_reloption_kind() -> relopt_kind::Type;
    fn add_int_reloption(
        kinds: u32,
        name: *const c_char,
        description: *const c_char,
        default: c_int,
        smallest: c_int,
        largest: c_int,
        mode: c_int,
    );
    fn add_enum_reloption(
        kinds: u32,
        name: *const c_char,
        description: *const c_char,
        members: *mut relopt_enum_elt_def,
        default: c_int,
        detail: *const c_char,
        mode: c_int,
    );
    fn extractRelOptions(
        tuple: HeapTuple,
        descriptor: TupleDesc,
        method: pg_sys::amoptions_function,
    ) -> *mut pg_sys::bytea;
    fn systable_beginscan(
        heap: Relation,
        index: Oid,
        index_ok: bool,
        snapshot: Snapshot,
        keys: c_int,
        key: *mut ScanKeyData,
    ) -> SysScanDesc;
    fn systable_getnext(scan: SysScanDesc) -> HeapTuple;
    fn systable_endscan(scan: SysScanDesc);
    fn ScanKeyInit(
        entry: *mut ScanKeyData,
        attribute: i16,
        strategy: u16,
        procedure: Oid,
        argument: Datum,
    );
    fn build_reloptions(
        options: Datum,
        validate: bool,
        kind: relopt_kind::Type,
        size: usize,
        elements: *const relopt_parse_elt,
        count: c_int,
    ) -> *mut c_void;
    fn XLogBeginInsert();
    fn log_newpage_range(relation: Relation, fork: ForkNumber::Type, first: u32, end: u32, standard: bool);
    #[cfg(feature = "pg18")]
    fn vacuum_delay_point(analyze: bool);
    #[cfg(not(feature = "pg18"))]
    fn vacuum_delay_point();
    fn pgstat_progress_update_param(index: c_int, value: i64);
    #[cfg(not(any(feature = "pg13", feature = "pg14")))]
    fn pgstat_assoc_relation(relation: Relation);
}

// src/backend/storage
server! {
    fn estimate_rel_size(
        relation: Relation,
        widths: *mut i32,
        pages: *mut u32,
        rows: *mut f64,
        visible: *mut f64,
    );
    fn RelationGetNumberOfBlocksInFork(relation: Relation, fork: ForkNumber::Type) -> u32;
    fn GetAccessStrategy(kind: BufferAccessStrategyType::Type) -> BufferAccessStrategy;
    fn ReadBufferExtended(
        relation: Relation,
        fork: ForkNumber::Type,
        block: u32,
        mode: ReadBufferMode::Type,
        strategy: BufferAccessStrategy,
    ) -> Buffer;
    fn LockBuffer(buffer: Buffer, mode: c_int);
    fn LockBufferForCleanup(buffer: Buffer);
    fn UnlockReleaseBuffer(buffer: Buffer);
    fn ReleaseBuffer(buffer: Buffer);
    fn MarkBufferDirty(buffer: Buffer);
    fn BufferGetBlockNumber(buffer: Buffer) -> u32;
    #[cfg(not(any(feature = "pg13", feature = "pg14", feature = "pg15")))]
    fn ExtendBufferedRelBy(
        relation: pg_sys::BufferManagerRelation,
        fork: ForkNumber::Type,
        strategy: BufferAccessStrategy,
        flags: u32,
        by: u32,
        buffers: *mut Buffer,
        extended_by: *mut u32,
    ) -> u32;
    fn GetPageWithFreeSpace(relation: Relation, bytes: usize) -> u32;
    fn GetRecordedFreeSpace(relation: Relation, block: u32) -> usize;
    fn RecordPageWithFreeSpace(relation: Relation, block: u32, bytes: usize);
    fn FreeSpaceMapVacuum(relation: Relation);
    fn LockPage(relation: Relation, block: u32, mode: c_int);
    fn UnlockPage(relation: Relation, block: u32, mode: c_int);
    fn LockRelationForExtension(relation: Relation, mode: c_int);
    fn UnlockRelationForExtension(relation: Relation, mode: c_int);
    fn BufFileCreateTemp(between_transactions: bool) -> *mut BufFile;
    fn BufFileClose(file: *mut BufFile);
    fn BufFileSeek(file: *mut BufFile, number: c_int, offset: libc::off_t, whence: c_int) -> c_int;
    fn BufFileRead(file: *mut BufFile, bytes: *mut c_void, size: usize) -> usize;
    #[cfg(feature = "pg13")]
    fn BufFileWrite(file: *mut BufFile, bytes: *mut c_void, size: usize) -> usize;
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    fn BufFileWrite(file: *mut BufFile, bytes: *mut c_void, size: usize);
    #[cfg(not(any(feature = "pg13", feature = "pg14", feature = "pg15")))]
    fn BufFileWrite(file: *mut BufFile, bytes: *const c_void, size: usize);
}

// src/backend/utils/adt, src/backend/utils/sort, src/backend/utils/cache, src/backend/optimizer
server! {
    fn ArrayGetIntegerTypmods(array: *mut ArrayType, count: *mut c_int) -> *mut i32;
    fn array_contains_nulls(array: *mut ArrayType) -> bool;
    fn deconstruct_array(
        array: *mut ArrayType,
        element: Oid,
        length: c_int,
        by_value: bool,
        alignment: c_char,
        elements: *mut *mut Datum,
        nulls: *mut *mut bool,
        count: *mut c_int,
    );
    fn lookup_type_cache(kind: Oid, flags: c_int) -> *mut pg_sys::TypeCacheEntry;
    fn get_collation_isdeterministic(collation: Oid) -> bool;
    fn cstring_to_text_with_len(text: *const c_char, length: c_int) -> *mut text;
    fn tuplestore_begin_heap(random: bool, between_transactions: bool, kilobytes: c_int) -> *mut Tuplestorestate;
    #[cfg(not(any(feature = "pg17", feature = "pg18")))]
    fn tuplestore_putvalues(
        store: *mut Tuplestorestate,
        descriptor: TupleDesc,
        values: *mut Datum,
        nulls: *mut bool,
    );
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    fn tuplestore_putvalues(
        store: *mut Tuplestorestate,
        descriptor: TupleDesc,
        values: *const Datum,
        nulls: *const bool,
    );
    fn genericcostestimate(root: *mut PlannerInfo, path: *mut IndexPath, loops: f64, costs: *mut GenericCosts);
    fn clauselist_selectivity(
        root: *mut PlannerInfo,
        clauses: *mut List,
        relation: c_int,
        join: JoinType::Type,
        special: *mut SpecialJoinInfo,
    ) -> f64;
    fn lappend(list: *mut List, datum: *mut c_void) -> *mut List;
    fn get_tablespace_page_costs(space: Oid, random: *mut f64, sequential: *mut f64);
}

// src/backend/executor/spi.c
server! {
    fn ResetPlanCache();
    fn SPI_cursor_open(
        name: *const c_char,
        plan: SPIPlanPtr,
        values: *mut Datum,
        nulls: *const c_char,
        read_only: bool,
    ) -> pg_sys::Portal;
    fn SPI_cursor_fetch(portal: pg_sys::Portal, forward: bool, count: c_long);
    fn SPI_cursor_close(portal: pg_sys::Portal);
    fn SPI_connect() -> c_int;
    fn SPI_finish() -> c_int;
    fn SPI_execute(sql: *const c_char, read_only: bool, limit: c_long) -> c_int;
    fn SPI_execute_with_args(
        sql: *const c_char,
        count: c_int,
        kinds: *mut Oid,
        values: *mut Datum,
        nulls: *const c_char,
        read_only: bool,
        limit: c_long,
    ) -> c_int;
    fn SPI_prepare(sql: *const c_char, count: c_int, kinds: *mut Oid) -> SPIPlanPtr;
    fn SPI_execute_plan(
        plan: SPIPlanPtr,
        values: *mut Datum,
        nulls: *const c_char,
        read_only: bool,
        limit: c_long,
    ) -> c_int;
    fn SPI_getvalue(tuple: HeapTuple, descriptor: TupleDesc, column: c_int) -> *mut c_char;
    fn SPI_getbinval(tuple: HeapTuple, descriptor: TupleDesc, column: c_int, null: *mut bool) -> Datum;
    fn SPI_freetuptable(table: *mut SPITupleTable);
    fn SPI_inside_nonatomic_context() -> bool;
}

// what only builds with named steps call
#[cfg(feature = "fault_points")]
server! {
    fn DefineCustomStringVariable(
        name: *const c_char,
        short: *const c_char,
        long: *const c_char,
        value: *mut *mut c_char,
        default: *const c_char,
        context: GucContext::Type,
        flags: c_int,
        check: pg_sys::GucStringCheckHook,
        assign: pg_sys::GucStringAssignHook,
        show: GucShowHook,
    );
    fn LockAcquire(
        tag: *const pg_sys::LOCKTAG,
        mode: pg_sys::LOCKMODE,
        session: bool,
        at_once: bool,
    ) -> pg_sys::LockAcquireResult::Type;
    fn LockRelease(tag: *const pg_sys::LOCKTAG, mode: pg_sys::LOCKMODE, session: bool) -> bool;
}

// src/backend/access/transam/xact.c, src/backend/utils/error/elog.c, src/backend/utils/activity/backend_status.c,
// src/backend/utils/fmgr/fmgr.c
server! {
    fn BeginInternalSubTransaction(name: *const c_char);
    fn ReleaseCurrentSubTransaction();
    fn RollbackAndReleaseCurrentSubTransaction();
    fn CopyErrorData() -> *mut pg_sys::ErrorData;
    fn FreeErrorData(error: *mut pg_sys::ErrorData);
    fn FlushErrorState();
    fn pgstat_report_activity(state: pg_sys::BackendState::Type, text: *const c_char);
    #[cfg(not(any(feature = "pg13", feature = "pg18")))]
    fn pgstat_get_my_query_id() -> u64;
    #[cfg(not(any(feature = "pg13", feature = "pg18")))]
    fn pgstat_report_query_id(id: u64, force: bool);
    #[cfg(feature = "pg18")]
    fn pgstat_get_my_query_id() -> i64;
    #[cfg(feature = "pg18")]
    fn pgstat_report_query_id(id: i64, force: bool);
    fn fmgr_info(function: Oid, info: *mut pg_sys::FmgrInfo);
}

/// Raises an error that was copied (ReThrowError); it unwinds.
///
/// # Safety
/// The error is a copy that the server made.
pub unsafe fn rethrow(error: *mut pg_sys::ErrorData) -> ! {
    // bindgen does not know that 18's does not return
    #[cfg(not(feature = "pg18"))]
    const _: unsafe fn(*mut pg_sys::ErrorData) -> ! = pg_sys::ReThrowError;
    #[cfg(feature = "pg18")]
    const _: unsafe fn(*mut pg_sys::ErrorData) = pg_sys::ReThrowError;
    unsafe extern "C-unwind" {
        fn ReThrowError(error: *mut pg_sys::ErrorData) -> !;
    }
    // SAFETY: the caller keeps the function's contract.
    unsafe { guard::call(|| ReThrowError(error)) }
}
