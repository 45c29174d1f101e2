"""CRMs: one module or folder each behind `linker.crm.protocol.Crm`; `registry` knows which there are."""
