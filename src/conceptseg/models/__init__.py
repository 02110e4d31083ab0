"""The three parts of ConceptSeg-R1 (reasoner, concept translation, segmenter) and the three as one."""
