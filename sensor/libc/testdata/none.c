int none(void) { return 0; }
