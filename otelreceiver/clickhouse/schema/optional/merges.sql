-- since 24.12.0
-- Parts below 5 MB are all the same to ClickHouse when it chooses what to merge, and
-- 5 MB of these rows are an hour of a small fleet. As it comes, it so merges a part of
-- that hour with the smallest beside it, and again a second later, row by row: it
-- leaves what is smallest out of each merge that it chose for having many parts. With
-- this it takes them all, and waits for ten.
ALTER TABLE {{database}}.events MODIFY SETTING merge_selector_enable_heuristic_to_remove_small_parts_at_right = 0, merge_selector_base = 10;
ALTER TABLE {{database}}.snapshot_connections MODIFY SETTING merge_selector_enable_heuristic_to_remove_small_parts_at_right = 0, merge_selector_base = 10;
ALTER TABLE {{database}}.snapshot_listeners MODIFY SETTING merge_selector_enable_heuristic_to_remove_small_parts_at_right = 0, merge_selector_base = 10;
ALTER TABLE {{database}}.snapshot_flows MODIFY SETTING merge_selector_enable_heuristic_to_remove_small_parts_at_right = 0, merge_selector_base = 10;
ALTER TABLE {{database}}.heartbeats MODIFY SETTING merge_selector_enable_heuristic_to_remove_small_parts_at_right = 0, merge_selector_base = 10;
