// SPDX-License-Identifier: Apache-2.0

package sql

// pure reports whether the built-in function called name changes nothing, runs no text that it is given, reads no
// file, reaches no other server and holds nothing up. name is as written, so that a quoted name must be in lower
// case to match.
func pure(d Dialect, name string) bool {
	switch d {
	case Postgres:
		return common[name] || postgres[name]
	case MySQL:
		return common[name] || mysql[name]
	}
	return common[name]
}

var common = set(`count sum avg min max coalesce nullif lower upper length abs round ceil ceiling floor trim ltrim rtrim substr substring
	replace concat greatest least power sqrt exp ln sign mod cast row_number rank dense_rank percent_rank cume_dist ntile lag lead
	first_value last_value nth_value extract position left right reverse repeat lpad rpad char_length character_length octet_length
	degrees radians sin cos tan asin acos atan atan2 pi log log10 iif ifnull group_concat total instr strftime date time datetime
	julianday unixepoch typeof hex unicode year month day datediff dateadd datepart datename len isnull charindex`)

var mysql = set(`if now curdate curtime sysdate date_format date_add date_sub adddate subdate str_to_date from_unixtime unix_timestamp
	timestampdiff timestampadd to_days from_days dayname dayofmonth dayofweek dayofyear hour minute second week weekday yearweek quarter
	last_day makedate maketime monthname utc_timestamp utc_date concat_ws elt field find_in_set format locate mid ascii char
	bin oct conv soundex space strcmpindex unhex to_base64 from_base64 md5 sha1 sha2 crc32 inet_aton inet_ntoa uuid
	json_extract json_unquote json_object json_array json_contains json_keys json_length json_type json_valid json_search json_value
	json_arrayagg json_objectagg bit_and bit_or bit_xor std stddev stddev_pop stddev_samp var_pop var_samp variance truncate rand
	regexp_like regexp_instr regexp_substr regexp_replace any_value convert database schema version current_user user connection_id`)

var postgres = set(`
	array_agg string_agg bool_and bool_or every bit_and bit_or bit_xor json_agg jsonb_agg json_object_agg jsonb_object_agg xmlagg range_agg
	range_intersect_agg corr covar_pop covar_samp regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy
	regr_syy stddev stddev_pop stddev_samp variance var_pop var_samp mode percentile_cont percentile_disc any_value cube rollup
	cbrt div factorial gcd lcm min_scale scale trim_scale trunc width_bucket random sind cosd tand cotd cot asind acosd atand
	atan2d sinh cosh tanh asinh acosh atanh erf erfc random_normal
	ascii btrim chr concat_ws format initcap md5 overlay parse_ident quote_ident quote_literal quote_nullable regexp_count regexp_instr
	regexp_like regexp_match regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr split_part strpos
	starts_with string_to_array string_to_table to_ascii to_hex to_bin to_oct translate unistr normalize bit_length get_bit
	get_byte set_bit set_byte sha224 sha256 sha384 sha512 encode decode convert convert_from convert_to crc32 crc32c like ilike
	similar_escape similar_to_escape textcat textlen bpchar text
	to_char to_date to_number to_timestamp age clock_timestamp date_bin date_part date_trunc isfinite justify_days justify_hours
	justify_interval make_date make_interval make_time make_timestamp make_timestamptz now statement_timestamp timeofday
	transaction_timestamp timezone timestamptz timetz date_add date_subtract overlaps
	enum_first enum_last enum_range area center diagonal diameter height isclosed isopen npoints pclose popen radius slope width box
	circle line lseg point polygon bound_box
	abbrev broadcast family host hostmask inet_merge inet_same_family masklen netmask network set_masklen cidr inet macaddr8_set7bit
	array_to_tsvector get_current_ts_config numnode plainto_tsquery phraseto_tsquery websearch_to_tsquery querytree setweight strip
	to_tsquery to_tsvector json_to_tsvector jsonb_to_tsvector ts_delete ts_filter ts_headline ts_rank ts_rank_cd tsquery_phrase
	tsvector_to_array ts_debug ts_lexize ts_parse ts_token_type
	gen_random_uuid uuidv4 uuidv7 uuid_generate_v4 uuid_extract_timestamp uuid_extract_version
	xmlcomment xmlconcat xmlelement xmlforest xmlparse xpath xpath_exists xml_is_well_formed
	to_json to_jsonb array_to_json row_to_json json_build_array jsonb_build_array json_build_object jsonb_build_object json_object
	jsonb_object json_array json_array_elements jsonb_array_elements json_array_elements_text jsonb_array_elements_text
	json_array_length jsonb_array_length json_each jsonb_each json_each_text jsonb_each_text json_extract_path jsonb_extract_path
	json_extract_path_text jsonb_extract_path_text json_object_keys jsonb_object_keys json_populate_record jsonb_populate_record
	json_populate_recordset jsonb_populate_recordset json_to_record jsonb_to_record json_to_recordset jsonb_to_recordset
	json_strip_nulls jsonb_strip_nulls jsonb_set jsonb_set_lax jsonb_insert jsonb_path_exists jsonb_path_match jsonb_path_query
	jsonb_path_query_array jsonb_path_query_first jsonb_path_exists_tz jsonb_path_match_tz jsonb_path_query_tz jsonb_pretty
	json_typeof jsonb_typeof json_value json_query json_exists
	array_append array_cat array_dims array_fill array_length array_lower array_ndims array_position array_positions array_prepend
	array_remove array_replace array_sample array_shuffle array_to_string array_upper cardinality trim_array unnest array_sort
	array_reverse isempty lower_inc lower_inf range_merge upper_inc upper_inf multirange int4range int8range numrange tsrange tstzrange
	daterange generate_series generate_subscripts
	current_database current_catalog current_schema current_schemas inet_client_addr inet_client_port inet_server_addr
	inet_server_port pg_backend_pid pg_conf_load_time pg_is_in_recovery pg_my_temp_schema pg_is_other_temp_schema
	pg_postmaster_start_time pg_trigger_depth version has_any_column_privilege has_column_privilege has_database_privilege
	has_foreign_data_wrapper_privilege has_function_privilege has_language_privilege has_schema_privilege has_sequence_privilege
	has_server_privilege has_table_privilege has_tablespace_privilege has_type_privilege pg_has_role row_security_active
	pg_collation_is_visible pg_conversion_is_visible pg_function_is_visible pg_opclass_is_visible pg_operator_is_visible
	pg_opfamily_is_visible pg_statistics_obj_is_visible pg_table_is_visible pg_ts_config_is_visible pg_ts_dict_is_visible
	pg_ts_parser_is_visible pg_ts_template_is_visible pg_type_is_visible format_type current_setting pg_get_constraintdef pg_get_expr
	pg_get_functiondef pg_get_function_arguments pg_get_function_identity_arguments pg_get_function_result pg_get_indexdef
	pg_get_keywords pg_get_partkeydef pg_get_ruledef pg_get_serial_sequence pg_get_statisticsobjdef pg_get_triggerdef
	pg_get_userbyid pg_get_viewdef pg_get_statisticsobjdef_columns pg_get_partition_constraintdef pg_index_column_has_property
	pg_index_has_property pg_indexam_has_property pg_options_to_table pg_tablespace_location pg_typeof to_regclass to_regnamespace
	to_regoper to_regoperator to_regproc to_regprocedure to_regrole to_regtype to_regcollation col_description obj_description
	shobj_description pg_describe_object pg_identify_object pg_column_size pg_database_size pg_indexes_size pg_relation_size
	pg_size_bytes pg_size_pretty pg_table_size pg_tablespace_size pg_total_relation_size pg_relation_filenode
	pg_relation_is_publishable pg_relation_is_updatable pg_column_is_updatable pg_encoding_to_char pg_char_to_encoding
	pg_client_encoding pg_partition_tree pg_partition_ancestors pg_partition_root pg_stat_get_numscans pg_stat_get_tuples_returned
	pg_get_multixact_members_ quote_ident aclexplode acldefault makeaclitem similarity word_similarity show_trgm levenshtein soundex
	metaphone dmetaphone unaccent num_nulls num_nonnulls hashtext int2 int4 int8 float4 float8 bool regclass oid`)
